--[[
Fully connected network on MNIST, in Torch7.

th mnist_fcn_torch7.lua -data mnist.t7
]]

require 'torch'
require 'nn'
require 'optim'

torch.setdefaulttensortype('torch.FloatTensor')

local BATCH_SIZE = 128
local EPOCHS = 10


-- 1. Load the data
-- Images (N x 784, values from 0 to 1) and labels, counted from 1.
function load_data(path)
    local data = torch.load(path)
    local x_train = data.x_train:float():div(255):view(-1, 784)
    local x_test = data.x_test:float():div(255):view(-1, 784)
    return x_train, data.y_train:add(1), x_test, data.y_test:add(1)
end


-- 2. The network
function mnist_fcn()
    local model = nn.Sequential()
    model:add(nn.Linear(784, 512))
    model:add(nn.ReLU())
    model:add(nn.Dropout(0.2))
    model:add(nn.Linear(512, 256))
    model:add(nn.ReLU())
    model:add(nn.Dropout(0.2))
    model:add(nn.Linear(256, 10))
    return model
end


-- 3. Loss, optimizer, initial weights
-- Uniform weights, by Glorot and Bengio (2010).
function glorot(weight)
    local fan_in = weight:nElement() / weight:size(1)
    local fan_out = weight:nElement() / weight:size(2)
    local limit = math.sqrt(6 / (fan_in + fan_out))
    weight:uniform(-limit, limit)
end


-- Set the initial weights of a layer.
function initialize(layer)
    if layer.weight then
        glorot(layer.weight)
        layer.bias:zero()
    end
end


-- Create the network and what trains it.
function build(seed)
    torch.manualSeed(seed or 0)
    local model = mnist_fcn()
    model:apply(initialize)
    local trainer = {criterion = nn.CrossEntropyCriterion()}
    trainer.config = {learningRate = 0.001}
    trainer.parameters, trainer.gradients = model:getParameters()
    return model, trainer
end


-- The tensors of each layer: weight, bias.
function tensors(model)
    return (model:parameters())
end


-- Set the weights to the tensors of a file.
function load_weights(model, path)
    local saved = torch.load(path)
    for i, tensor in ipairs(tensors(model)) do
        tensor:copy(saved[i])
    end
end


-- Write the weights as tensors.
function save_weights(model, path)
    torch.save(path, tensors(model))
end


-- 4. Train
-- Make one optimizer step on a batch; return its loss.
function train_step(model, trainer, x, y)
    local function feval()
        trainer.gradients:zero()
        local loss = trainer.criterion:forward(model:forward(x), y)
        model:backward(x, trainer.criterion:backward(model.output, y))
        return loss, trainer.gradients
    end
    model:training()
    local _, losses = optim.adam(feval, trainer.parameters, trainer.config)
    return losses[1]
end


-- Train for some epochs; print the mean loss of each.
function train(model, trainer, x, y, epochs, seed, validation, on_step)
    torch.manualSeed(seed or 0)
    for epoch = 1, epochs or EPOCHS do
        local order = torch.randperm(x:size(1)):long()
        local total, steps = 0, 0
        for start = 1, x:size(1) - BATCH_SIZE + 1, BATCH_SIZE do
            local rows = order:narrow(1, start, BATCH_SIZE)
            local loss = train_step(model, trainer, x:index(1, rows), y:index(1, rows))
            total, steps = total + loss, steps + 1
            if on_step then
                on_step(loss)
            end
        end
        local report = string.format('epoch %d: loss %.4f', epoch, total / steps)
        if validation then
            local score = evaluate(model, unpack(validation))
            report = report .. string.format(', accuracy %.4f', score)
        end
        print(report)
    end
end


-- 5. Predict
-- Scores of a batch.
function predict(model, x)
    model:evaluate()
    return model:forward(x)
end


-- 6. Evaluate
-- Share of observations whose highest score is that of their label.
function evaluate(model, x, y)
    local correct = 0
    for start = 1, x:size(1), BATCH_SIZE do
        local size = math.min(BATCH_SIZE, x:size(1) - start + 1)
        local _, classes = torch.max(predict(model, x:narrow(1, start, size)), 2)
        correct = correct + classes:view(-1):eq(y:narrow(1, start, size)):sum()
    end
    return correct / x:size(1)
end


function main()
    local cmd = torch.CmdLine()
    cmd:option('-data', 'mnist.t7', 'the prepared data')
    cmd:option('-epochs', EPOCHS, 'how often all observations are seen')
    cmd:option('-seed', 0, 'of the weights and of the order of observations')
    cmd:option('-weights', '', 'initial weights (.t7)')
    cmd:option('-save', '', 'where to write the trained weights (.t7)')
    local opt = cmd:parse(arg)

    local x_train, y_train, x_test, y_test = load_data(opt.data)
    local model, trainer = build(opt.seed)
    if opt.weights ~= '' then
        load_weights(model, opt.weights)
    end
    train(model, trainer, x_train, y_train, opt.epochs, opt.seed, {x_test, y_test})
    if opt.save ~= '' then
        save_weights(model, opt.save)
    end
end


if arg then
    main()
end
