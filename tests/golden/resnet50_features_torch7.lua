--[[
ResNet-50 features, in Torch7.

th resnet50_features_torch7.lua -data cifar10.t7
]]

require 'torch'
require 'nn'

torch.setdefaulttensortype('torch.FloatTensor')

local BATCH_SIZE = 32


-- 1. Load the data
-- Images (N x 3 x 224 x 224, values from 0 to 1).
function load_data(path)
    local data = torch.load(path)
    local count = math.min(1000, data.x_test:size(1))
    local x = data.x_test:narrow(1, 1, count):float():div(255)
    local enlarge = nn.SpatialUpSamplingNearest(7)
    return enlarge:forward(x)
end


-- 2. The network
function projection_bottleneck(in_channels, channels, stride)
    local block = nn.Sequential()
    local branch1 = nn.Sequential()
    branch1:add(nn.SpatialConvolution(in_channels, channels, 1, 1):noBias())
    branch1:add(nn.SpatialBatchNormalization(channels))
    branch1:add(nn.ReLU())
    branch1:add(
        nn.SpatialConvolution(channels, channels, 3, 3, stride, stride, 1, 1):noBias()
    )
    branch1:add(nn.SpatialBatchNormalization(channels))
    branch1:add(nn.ReLU())
    branch1:add(nn.SpatialConvolution(channels, 4 * channels, 1, 1):noBias())
    branch1:add(nn.SpatialBatchNormalization(4 * channels))
    local branch2 = nn.Sequential()
    branch2:add(
        nn.SpatialConvolution(in_channels, 4 * channels, 1, 1, stride, stride):noBias()
    )
    branch2:add(nn.SpatialBatchNormalization(4 * channels))
    block:add(nn.ConcatTable():add(branch1):add(branch2))
    block:add(nn.CAddTable())
    block:add(nn.ReLU())
    return block
end


function bottleneck(channels)
    local block = nn.Sequential()
    local branch1 = nn.Sequential()
    branch1:add(nn.SpatialConvolution(4 * channels, channels, 1, 1):noBias())
    branch1:add(nn.SpatialBatchNormalization(channels))
    branch1:add(nn.ReLU())
    branch1:add(nn.SpatialConvolution(channels, channels, 3, 3, 1, 1, 1, 1):noBias())
    branch1:add(nn.SpatialBatchNormalization(channels))
    branch1:add(nn.ReLU())
    branch1:add(nn.SpatialConvolution(channels, 4 * channels, 1, 1):noBias())
    branch1:add(nn.SpatialBatchNormalization(4 * channels))
    block:add(nn.ConcatTable():add(branch1):add(nn.Identity()))
    block:add(nn.CAddTable())
    block:add(nn.ReLU())
    return block
end


function resnet50_features()
    local model = nn.Sequential()
    model:add(nn.SpatialConvolution(3, 64, 7, 7, 2, 2, 3, 3):noBias())
    model:add(nn.SpatialBatchNormalization(64))
    model:add(nn.ReLU())
    model:add(nn.SpatialMaxPooling(3, 3, 2, 2, 1, 1))
    model:add(projection_bottleneck(64, 64, 1))
    for _ = 1, 2 do
        model:add(bottleneck(64))
    end
    model:add(projection_bottleneck(256, 128, 2))
    for _ = 1, 3 do
        model:add(bottleneck(128))
    end
    model:add(projection_bottleneck(512, 256, 2))
    for _ = 1, 5 do
        model:add(bottleneck(256))
    end
    model:add(projection_bottleneck(1024, 512, 2))
    for _ = 1, 2 do
        model:add(bottleneck(512))
    end
    model:add(nn.SpatialAveragePooling(7, 7))
    model:add(nn.View(2048):setNumInputDims(3))
    return model
end


-- 3. Initial weights
-- Uniform weights, by Glorot and Bengio (2010).
function glorot(weight)
    local fan_in = weight:nElement() / weight:size(1)
    local fan_out = weight:nElement() / weight:size(2)
    local limit = math.sqrt(6 / (fan_in + fan_out))
    weight:uniform(-limit, limit)
end


-- Set the initial weights of a layer.
function initialize(layer)
    if torch.type(layer):find('BatchNormalization') and layer.weight then
        layer.weight:fill(1)
        layer.bias:zero()
    elseif layer.weight then
        glorot(layer.weight)
        if layer.bias then
            layer.bias:zero()
        end
    end
end


-- Create the network.
function build(seed)
    torch.manualSeed(seed or 0)
    local model = resnet50_features()
    model:apply(initialize)
    return model
end


-- The tensors of each layer: weight, bias, running statistics.
function tensors(model)
    local found = {}
    for _, layer in ipairs(model:listModules()) do
        for _, name in ipairs({'weight', 'bias', 'running_mean', 'running_var'}) do
            if layer[name] then
                table.insert(found, layer[name])
            end
        end
    end
    return found
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


-- 4. Predict
-- Scores of a batch.
function predict(model, x)
    model:evaluate()
    return model:forward(x)
end


-- 5. All observations
-- Features of all observations, batch by batch.
function extract(model, x)
    local features = {}
    for start = 1, x:size(1), BATCH_SIZE do
        local size = math.min(BATCH_SIZE, x:size(1) - start + 1)
        table.insert(features, predict(model, x:narrow(1, start, size)):clone())
    end
    return torch.cat(features, 1)
end


function main()
    local cmd = torch.CmdLine()
    cmd:option('-data', 'cifar10.t7', 'the prepared data')
    cmd:option('-weights', '', 'weights (.t7)')
    cmd:option('-save', 'features.t7', 'where to write the features')
    local opt = cmd:parse(arg)

    local x = load_data(opt.data)
    local model = build()
    if opt.weights ~= '' then
        load_weights(model, opt.weights)
    end
    local timer = torch.Timer()
    local features = extract(model, x)
    local seconds = timer:time().real
    print(string.format('%d observations in %.2f seconds', x:size(1), seconds))
    torch.save(opt.save, features)
end


if arg then
    main()
end
