--[[
GRU on IMDB reviews, in Torch7.

th imdb_gru_torch7.lua -data imdb.t7
]]

require 'torch'
require 'nn'
require 'rnn'
require 'optim'

torch.setdefaulttensortype('torch.FloatTensor')

local BATCH_SIZE = 64
local EPOCHS = 3


-- 1. Load the data
-- Words (N x 150 indices) and labels, counted from 1.
function load_data(path)
    local data = torch.load(path)
    local x_train = data.x_train:add(1)
    local x_test = data.x_test:add(1)
    return x_train, data.y_train:add(1), x_test, data.y_test:add(1)
end


-- 2. The network
function imdb_gru()
    local model = nn.Sequential()
    model:add(nn.LookupTable(30000, 125))
    model:add(nn.Transpose({1, 2}))
    model:add(nn.SeqGRU(125, 100))
    model:add(nn.Select(1, -1))
    model:add(nn.Linear(100, 2))
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
    if torch.type(layer) == 'nn.LookupTable' then
        layer.weight:uniform(-0.05, 0.05)
    elseif torch.type(layer) == 'nn.SeqGRU' then
        local outputs = layer.bias:size(1) / 3
        local inputs = layer.weight:size(1) - outputs
        glorot(layer.weight:narrow(1, 1, inputs))
        glorot(layer.weight:narrow(1, inputs + 1, outputs))
        layer.bias:zero()
    elseif layer.weight then
        glorot(layer.weight)
        layer.bias:zero()
    end
end


-- Create the network and what trains it.
function build(seed)
    torch.manualSeed(seed or 0)
    local model = imdb_gru()
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
    cmd:option('-data', 'imdb.t7', 'the prepared data')
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
