"""A Lua program as a module of Python, with the functions that every program offers."""

# What they do is what Torch7's manuals say of their names.
# ruff: noqa: D102

import re

import numpy as np
import torch
from lupa.luajit21 import LuaRuntime

from . import modules, optim
from .tensors import Tensor, default


def _get(thing, name):
    """A field of a Lua object, nothing where there is none."""
    return getattr(thing, name, None)


def _array(value):
    return value.t.detach().numpy() if isinstance(value, Tensor) else value


def _tensor(value):
    return Tensor(torch.from_numpy(np.array(value)))


class Program:
    """What the functions of a program are given and give are arrays of NumPy."""

    def __init__(self, path):
        self.lua = LuaRuntime(
            unpack_returned_tuples=True, attribute_handlers=(_get, setattr)
        )
        self.names = None
        names = self.lua.globals()
        # Without arguments of a command line a program does not run by itself.
        names.arg = None
        names.require = lambda name: None
        names.torch = self.lua.table_from(self._torch())
        names.nn = self.lua.table_from(modules.classes(self.lua))
        names.optim = self.lua.table_from(optim.rules(self.lua))
        with open(path) as file:
            source = file.read()
        self.lua.execute(source)
        self.BATCH_SIZE = int(re.search(r"BATCH_SIZE = (\d+)", source)[1])
        self._functions = names

    def _torch(self):
        return {
            "setdefaulttensortype": default.choose,
            "manualSeed": lambda seed: torch.manual_seed(int(seed)) and None,
            "type": lambda thing: getattr(thing, "__typename", type(thing).__name__),
            "load": self._load,
            "save": self._save,
            "randperm": lambda n: Tensor(torch.randperm(int(n)) + 1),
            "max": lambda x, dim: x.max(dim),
            "dist": lambda x, y: float(torch.dist(x.t, y.t)),
            "cat": lambda parts, dim: Tensor(
                torch.cat([part.t for part in parts.values()], int(dim) - 1)
            ),
        }

    def _load(self, path):
        """Named arrays: data by name, weights in their order."""
        with np.load(path) as arrays:
            if "x_test" in arrays.files:
                found = {name: _tensor(arrays[name]) for name in arrays.files}
                return self.lua.table_from(found)
            self.names = arrays.files
            return self.lua.table_from([_tensor(arrays[name]) for name in arrays.files])

    def _save(self, path, tensors):
        arrays = [_array(tensor) for tensor in tensors.values()]
        names = self.names or [str(i) for i in range(1, len(arrays) + 1)]
        np.savez(path, **dict(zip(names, arrays)))

    def load_data(self, path):
        found = self._functions.load_data(path)
        return tuple(map(_array, found)) if isinstance(found, tuple) else _array(found)

    def build(self, seed=0):
        return self._functions.build(seed)

    def load_weights(self, model, path):
        self._functions.load_weights(model, str(path))

    def save_weights(self, model, path):
        self._functions.save_weights(model, str(path))

    def train_step(self, model, trainer, x, y):
        return self._functions.train_step(model, trainer, _tensor(x), _tensor(y))

    def train(
        self, model, trainer, x, y, epochs=None, seed=0, validation=None, on_step=None
    ):
        if validation:
            validation = self.lua.table_from([_tensor(array) for array in validation])
        self._functions.train(
            model, trainer, _tensor(x), _tensor(y), epochs, seed, validation, on_step
        )

    def predict(self, model, x):
        return _array(self._functions.predict(model, _tensor(x)))

    def evaluate(self, model, x, y):
        return self._functions.evaluate(model, _tensor(x), _tensor(y))

    def extract(self, model, x):
        return _array(self._functions.extract(model, _tensor(x)))


load_program = Program
