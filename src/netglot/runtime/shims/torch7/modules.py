"""Modules, containers and criteria of ``nn``, and the sequences of ``rnn``.

A module computes with PyTorch and lets PyTorch find the gradients: ``backward`` asks
for those of the last ``forward``.
"""

# What they do is what Torch7's manuals say of their names.
# ruff: noqa: D101, D102

import math

import torch
import torch.nn.functional as F

from .tensors import Tensor, default


def _unwrapped(value):
    return [_unwrapped(v) for v in value] if isinstance(value, list) else value.t


class Module:
    """``modules`` are those inside; ``weight`` and ``bias`` what is trained."""

    lua = None
    weight = bias = running_mean = running_var = None

    def __init__(self):
        self.modules = []
        self.train = True
        setattr(self, "__typename", "nn." + type(self).__name__)

    def _weights(self, shape, fan_in, bias=True):
        """Uniform within one over the root of ``fan_in``, as ``reset`` leaves them."""
        limit = 1 / math.sqrt(fan_in)

        def make(*size):
            empty = torch.empty(*size, dtype=default.dtype)
            return Tensor(empty.uniform_(-limit, limit))

        self.weight = make(*shape)
        if bias:
            self.bias = make(bias if bias is not True else shape[0])

    def all(self):
        found = [self]
        for module in self.modules:
            found += module.all()
        return found

    def listModules(self):
        return self.lua.table_from(self.all())

    def apply(self, function):
        for module in self.all():
            function(module)
        return self

    def _parameters(self):
        own = [(m, name) for m in self.all() for name in ("weight", "bias")]
        return [(m, name) for m, name in own if getattr(m, name) is not None]

    def parameters(self):
        tensors = [getattr(m, name) for m, name in self._parameters()]
        return self.lua.table_from(tensors), None

    def getParameters(self):
        """All weights and all gradients, each as one tensor that the modules see."""
        pairs = self._parameters()
        tensors = [getattr(m, name) for m, name in pairs]
        flat = torch.cat([tensor.t.reshape(-1) for tensor in tensors])
        self.gradients, begin = torch.zeros_like(flat), 0
        for tensor in tensors:
            end = begin + tensor.t.numel()
            tensor.t = flat[begin:end].view(tensor.t.shape)
            begin = end
        return Tensor(flat), Tensor(self.gradients)

    def training(self):
        for module in self.all():
            module.train = True

    def evaluate(self):
        for module in self.all():
            module.train = False

    def forward(self, x):
        """Gradients are wanted in training alone."""
        tensors = [getattr(m, name).t for m, name in self._parameters()]
        for tensor in tensors:
            tensor.requires_grad_(self.train)
        with torch.set_grad_enabled(self.train):
            self.computed = self.compute(x.t)
        self.output = Tensor(self.computed.detach())
        return self.output

    def backward(self, x, gradient):
        tensors = [getattr(m, name).t for m, name in self._parameters()]
        found = torch.autograd.grad(self.computed, tensors, gradient.t)
        with torch.no_grad():
            self.gradients.add_(torch.cat([part.reshape(-1) for part in found]))

    def noBias(self):
        self.bias = None
        return self

    def ceil(self):
        self.rounds_up = True
        return self

    def setCountExcludePad(self):
        self.counts_padding = False
        return self

    def setNumInputDims(self, count):
        self.inputs = int(count)
        return self

    def checksum(self):
        return sum(float(getattr(m, n).t.sum()) for m, n in self._parameters())


class Sequential(Module):
    def add(self, module):
        self.modules.append(module)
        return self

    def compute(self, x):
        for module in self.modules:
            x = module.compute(x)
        return x


class ConcatTable(Sequential):
    def compute(self, x):
        return [module.compute(x) for module in self.modules]


class Bottle(Module):
    def __init__(self, module):
        super().__init__()
        self.modules = [module]

    def compute(self, x):
        y = self.modules[0].compute(x.reshape(-1, x.shape[-1]))
        return y.view(*x.shape[:-1], -1)


class Linear(Module):
    def __init__(self, inputs, outputs, bias=True):
        super().__init__()
        self._weights((int(outputs), int(inputs)), inputs, bias)

    def compute(self, x):
        return F.linear(x, self.weight.t, self.bias and self.bias.t)


class LookupTable(Module):
    def __init__(self, count, size):
        super().__init__()
        weight = torch.randn(int(count), int(size), dtype=default.dtype)
        self.weight = Tensor(weight)

    def compute(self, x):
        return F.embedding(x.long() - 1, self.weight.t)


def _turned(values):
    """PyTorch's order, of time, height, width, of Torch7's: width before height."""
    values = [int(value) for value in values]
    return [*values[:-2], values[-1], values[-2]]


class _Convolution(Module):
    """``given``: kernel, stride, padding; ``more`` stands after them."""

    def __init__(self, rank, transposed, inputs, outputs, *given):
        super().__init__()
        given = list(given)
        pads = 2 * rank
        if len(given) == pads + 1:
            # The height is padded as the width is.
            given.append(given[pads])
        given += ([1] * rank + [0] * rank)[max(0, len(given) - rank) :]
        kernel, self.stride, self.pads = (
            _turned(given[i * rank : (i + 1) * rank]) for i in range(3)
        )
        self.more = _turned(given[pads + rank :]) if len(given) > pads + rank else None
        ends = (inputs, outputs) if transposed else (outputs, inputs)
        fan_in = inputs * math.prod(kernel)
        self._weights((*map(int, ends), *kernel), fan_in, int(outputs))


class SpatialConvolution(_Convolution):
    rank, transposed = 2, False

    def __init__(self, inputs, outputs, *given):
        super().__init__(self.rank, self.transposed, inputs, outputs, *given)

    def compute(self, x):
        convolve = {2: F.conv2d, 3: F.conv3d}[self.rank]
        bias = self.bias and self.bias.t
        dilation = self.more or [1] * self.rank
        return convolve(x, self.weight.t, bias, self.stride, self.pads, dilation)


class SpatialDilatedConvolution(SpatialConvolution):
    pass


class VolumetricConvolution(SpatialConvolution):
    rank = 3


class VolumetricDilatedConvolution(SpatialConvolution):
    rank = 3


class SpatialFullConvolution(SpatialConvolution):
    transposed = True

    def compute(self, x):
        convolve = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[self.rank]
        bias = self.bias and self.bias.t
        more = self.more or [0] * self.rank
        return convolve(x, self.weight.t, bias, self.stride, self.pads, more)


class VolumetricFullConvolution(SpatialFullConvolution):
    rank = 3


class SpatialMaxPooling(Module):
    rank, mean = 2, False
    rounds_up, counts_padding = False, True

    def __init__(self, *given):
        super().__init__()
        rank, given = self.rank, list(given)
        if len(given) == rank:
            given += given
        given += [0] * (3 * rank - len(given))
        self.kernel, self.stride, self.pads = (
            _turned(given[i * rank : (i + 1) * rank]) for i in range(3)
        )

    def compute(self, x):
        given = (x, self.kernel, self.stride, self.pads)
        if self.mean:
            pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[self.rank]
            return pool(*given, self.rounds_up, self.counts_padding)
        pool = {2: F.max_pool2d, 3: F.max_pool3d}[self.rank]
        return pool(*given, ceil_mode=self.rounds_up)


class SpatialAveragePooling(SpatialMaxPooling):
    mean = True


class VolumetricMaxPooling(SpatialMaxPooling):
    rank = 3


class VolumetricAveragePooling(SpatialMaxPooling):
    rank, mean = 3, True


class BatchNormalization(Module):
    axes = 2

    def __init__(self, size, eps=None, momentum=None, affine=True):
        super().__init__()
        self.eps = 1e-5 if eps is None else eps
        self.momentum = 0.1 if momentum is None else momentum

        def made(value):
            return Tensor(torch.full((int(size),), value, dtype=default.dtype))

        self.running_mean, self.running_var = made(0.0), made(1.0)
        if affine:
            self.weight, self.bias = made(0.5), made(0.0)

    def compute(self, x):
        if x.dim() != self.axes:
            raise ValueError(f"only mini-batch supported ({self.axes}D tensor)")
        return F.batch_norm(
            x,
            self.running_mean.t,
            self.running_var.t,
            self.weight and self.weight.t,
            self.bias and self.bias.t,
            self.train,
            self.momentum,
            self.eps,
        )


class SpatialBatchNormalization(BatchNormalization):
    axes = 4


class VolumetricBatchNormalization(BatchNormalization):
    axes = 5


class _Sequence(Module):
    """Steps x batch x features; the weights of both products above each other."""

    gates = 0

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inputs, self.outputs = int(inputs), int(outputs)
        shape = (self.inputs + self.outputs, self.gates * self.outputs)
        self._weights(shape, shape[0], self.gates * self.outputs)
        with torch.no_grad():
            self.bias.t.zero_()
            self.bias.t[self.outputs : 2 * self.outputs] = 1

    def compute(self, x):
        inside, across = self.weight.t.split([self.inputs, self.outputs])
        h = x.new_zeros(x.shape[1], self.outputs)
        state, steps = h, []
        for step in x:
            h, state = self.step(self.bias.t + step @ inside, h, state, across)
            steps.append(h)
        return torch.stack(steps)


class SeqLSTM(_Sequence):
    gates = 4

    def step(self, given, h, cell, across):
        i, f, o, g = (given + h @ across).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class SeqGRU(_Sequence):
    gates = 3

    def step(self, given, h, state, across):
        size = 2 * self.outputs
        r, u = (given[:, :size] + h @ across[:, :size]).sigmoid().chunk(2, 1)
        candidate = (given[:, size:] + (r * h) @ across[:, size:]).tanh()
        return (1 - u) * candidate + u * h, state


class View(Module):
    def __init__(self, *sizes):
        super().__init__()
        self.sizes = [int(size) for size in sizes]

    def compute(self, x):
        return x.view(*x.shape[: x.dim() - self.inputs], *self.sizes)


class Reshape(Module):
    def __init__(self, *sizes):
        super().__init__()
        if sizes[-1] is not True:
            raise ValueError("only with its batch mode")
        self.sizes = [int(size) for size in sizes[:-1]]

    def compute(self, x):
        return x.reshape(len(x), *self.sizes)


class Transpose(Module):
    def __init__(self, *swaps):
        super().__init__()
        self.swaps = [[int(d) - 1 for d in swap.values()] for swap in swaps]

    def compute(self, x):
        for swap in self.swaps:
            x = x.transpose(*swap)
        return x


class Padding(Module):
    def __init__(self, dim, count, inputs=None, value=None):
        super().__init__()
        self.dim, self.count, self.value = int(dim), int(count), value or 0

    def compute(self, x):
        sides = (-self.count, 0) if self.count < 0 else (0, self.count)
        return F.pad(x, (0, 0) * (x.dim() - self.dim) + sides, value=self.value)


def _module(compute):
    """A class of modules from what they compute, given what they are made with."""

    class Plain(Module):
        def __init__(self, *given):
            super().__init__()
            self.given = given

        def compute(self, x):
            return compute(x, *self.given)

    return Plain


_SIMPLE = {
    "Identity": lambda x: x,
    "ReLU": lambda x, *inplace: F.relu(x),
    "LeakyReLU": lambda x, slope=0.01: F.leaky_relu(x, slope),
    "ELU": lambda x, alpha=1.0: F.elu(x, alpha),
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "SoftPlus": F.softplus,
    "SoftMax": lambda x: F.softmax(x, {1: 0, 2: 1, 3: 0, 4: 1}[x.dim()]),
    "LogSoftMax": lambda x: F.log_softmax(x, {1: 0, 2: 1, 3: 0, 4: 1}[x.dim()]),
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
    "Abs": torch.abs,
    "Clamp": torch.clamp,
    "MulConstant": lambda x, number: x * number,
    "AddConstant": lambda x, number: x + number,
    "SelectTable": lambda x, place: x[int(place) - 1],
    "CAddTable": sum,
    "CSubTable": lambda x: x[0] - x[1],
    "CMulTable": lambda x: math.prod(x[1:], start=x[0]),
    "CDivTable": lambda x: x[0] / x[1],
    "CMaxTable": lambda x: torch.stack(x).amax(0),
    "CMinTable": lambda x: torch.stack(x).amin(0),
    "MM": lambda x, first=False, second=False: torch.bmm(
        x[0].transpose(1, 2) if first else x[0],
        x[1].transpose(1, 2) if second else x[1],
    ),
    "JoinTable": lambda x, dim: torch.cat(x, int(dim) - 1),
    "Narrow": lambda x, dim, first, size: x.narrow(
        int(dim) - 1, int(first) - 1, int(size)
    ),
    "Select": lambda x, dim, place: x.select(
        int(dim) - 1, int(place) - 1 if place > 0 else int(place)
    ),
    "Mean": lambda x, dim: x.mean(int(dim) - 1),
    "Sum": lambda x, dim: x.sum(int(dim) - 1),
    "Max": lambda x, dim: x.max(int(dim) - 1)[0],
    "SpatialZeroPadding": lambda x, *sides: F.pad(x, [int(side) for side in sides]),
    "SpatialUpSamplingNearest": lambda x, scale: F.interpolate(
        x, scale_factor=int(scale), mode="nearest"
    ),
}


class Dropout(Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.rate = rate

    def compute(self, x):
        return F.dropout(x, self.rate, self.train)


class CrossEntropyCriterion:
    def loss(self, x, y):
        return F.cross_entropy(x, y.long() - 1)

    def forward(self, x, y):
        return self.loss(x.t, y.t).item()

    def backward(self, x, y):
        scores = x.t.detach().requires_grad_()
        with torch.enable_grad():
            return Tensor(torch.autograd.grad(self.loss(scores, y.t), scores)[0])


class MSECriterion(CrossEntropyCriterion):
    def loss(self, x, y):
        return F.mse_loss(x, y)


def classes(lua):
    """Everything that ``nn`` holds, by name."""
    Module.lua = lua
    found = {name: _module(compute) for name, compute in _SIMPLE.items()}
    for name, made in found.items():
        made.__name__ = name
    for name, value in globals().items():
        if isinstance(value, type) and value.__module__ == __name__:
            found[name] = value
    return found
