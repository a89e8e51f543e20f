"""Tensors of Torch7, as far as programs use them: axes and elements count from 1."""

# What they do is what Torch7's manuals say of their names.
# ruff: noqa: D102

import torch


class _Default:
    """The type of tensors for which none is named."""

    dtype = torch.float64

    def choose(self, name):
        kinds = {
            "torch.FloatTensor": torch.float32,
            "torch.DoubleTensor": torch.float64,
        }
        self.dtype = kinds[name]


default = _Default()


class Tensor:
    """``t`` is PyTorch's; what ends in an underscore there is the method here."""

    def __init__(self, t):
        self.t = t

    def size(self, dim):
        return self.t.shape[int(dim) - 1]

    def nElement(self):
        return self.t.numel()

    def float(self):
        return Tensor(self.t.float())

    def double(self):
        return Tensor(self.t.double())

    def long(self):
        return Tensor(self.t.long())

    def clone(self):
        return Tensor(self.t.clone())

    def view(self, *sizes):
        return Tensor(self.t.view(*map(int, sizes)))

    def narrow(self, dim, first, size):
        return Tensor(self.t.narrow(int(dim) - 1, int(first) - 1, int(size)))

    def index(self, dim, rows):
        return Tensor(self.t.index_select(int(dim) - 1, rows.t - 1))

    def eq(self, other):
        return Tensor(self.t == other.t)

    def sum(self):
        return self.t.sum().item()

    def max(self, dim):
        values, places = self.t.max(int(dim) - 1, keepdim=True)
        return Tensor(values), Tensor(places + 1)

    def _inplace(name):
        def change(self, *numbers):
            with torch.no_grad():
                getattr(self.t, name + "_")(*numbers)
            return self

        return change

    add, div, fill, zero, uniform = map(
        _inplace, ("add", "div", "fill", "zero", "uniform")
    )

    def copy(self, other):
        with torch.no_grad():
            self.t.copy_(other.t.view_as(self.t))
        return self
