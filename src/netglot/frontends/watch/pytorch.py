"""Watches PyTorch modules: hooks on modules, a function mode for all the rest."""

# mypy: no-check-untyped-defs

import contextlib

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from . import precision, recorder

NAME = "pytorch"
DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: Modules with others inside that are one layer all the same.
WHOLE = (nn.MultiheadAttention,)
_DROPOUTS = {
    "torch.nn.functional." + name
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
}

#: Attributes of a tensor that are another one.
_TURNS = (".T.__get__", ".mT.__get__")


def version():
    """Of the framework."""
    return torch.__version__


def prepare(dtype, seed):
    """Before the model is made."""
    torch.manual_seed(seed)


@contextlib.contextmanager
def making():
    """While the model is made: every module remembers the line that made it."""
    original = nn.Module.__init__

    def remembering(self, *args, **kwargs):
        original(self, *args, **kwargs)
        object.__setattr__(self, "_netglot_made", recorder.where())

    with recorder.patched(nn.Module, "__init__", remembering):
        yield


def adopt(model, optimizer, loss, dtype):
    """The model in a precision."""
    model = model.to(DTYPES[dtype])
    # One without weights has nothing else to tell it by.
    object.__setattr__(model, "_netglot_dtype", DTYPES[dtype])
    return model, optimizer, loss


def shortened(model):
    """Single layers of a shorter type, and what they would be set to: none."""
    return []


def get_weights(model):
    """Parameters and buffers by path; each once, however often it is used."""
    named = dict(model.named_parameters())
    named.update(model.named_buffers())
    return {path: _array(tensor) for path, tensor in named.items()}


def set_weights(model, arrays):
    """Sets what ``get_weights`` gave; arrays of other paths are an error."""
    named = dict(model.named_parameters())
    named.update(model.named_buffers())
    with torch.no_grad():
        for path, array in arrays.items():
            # Not np.asarray: a copy that PyTorch may write to.
            named[path].copy_(torch.from_numpy(np.array(array)))


def record(model, arrays, notes, training):
    """Runs the model on NumPy arrays, noting every call."""
    model.train(training)
    own = getattr(model, "_netglot_dtype", torch.float32)
    dtype = next((p.dtype for p in model.parameters()), own)
    inputs = [torch.from_numpy(np.array(array)) for array in arrays]
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    paths = {id(p): path for path, p in model.named_parameters()}
    paths.update({id(b): path for path, b in model.named_buffers()})
    watch = _Watch(notes, paths, drops=not training)
    names = [watch.see(x) for x in inputs]
    removers = watch.hook(model)
    try:
        with watch, torch.set_grad_enabled(training):
            result = model(*inputs)
    finally:
        for remover in removers:
            remover.remove()
    outputs = [t for t in _flat(result) if isinstance(t, torch.Tensor)]
    if training:
        # The same function of the outputs, whatever the order of their axes.
        model.zero_grad()
        sum((y.sin() + y * y / 2).sum() for y in outputs).backward()
        gradients = {
            path: _array(p.grad)
            for path, p in model.named_parameters()
            if p.grad is not None
        }
        np.savez(notes.folder + "/gradients.npz", **gradients)
        model.zero_grad()
    notes.finish(names, [watch.see(t) for t in outputs], get_weights(model))


def step(opened, x, y):
    """One step of the model's own optimizer: its loss and the gradients by path."""
    model = opened.model
    model.train()
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.eval()
    dtype = next(p.dtype for p in model.parameters())
    x, y = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))
    x = x.to(dtype) if x.is_floating_point() else x
    opened.optimizer.zero_grad()
    loss = opened.loss(model(x), y)
    loss.backward()
    gradients = {
        path: _array(p.grad)
        for path, p in model.named_parameters()
        if p.grad is not None
    }
    opened.optimizer.step()
    return loss.item(), gradients


def describe(optimizer):
    """Class and settings of an optimizer."""
    first = optimizer.param_groups[0]
    return {
        "kind": recorder.full_name(type(optimizer)),
        "attributes": {k: v for k, v in first.items() if recorder.simple(v)},
    }


def _array(tensor):
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        # NumPy has no such type.
        tensor = tensor.float()
    return tensor.numpy().copy()


def _flat(item):
    if isinstance(item, (list, tuple)):
        return [leaf for part in item for leaf in _flat(part)]
    if isinstance(item, dict):
        return [leaf for part in item.values() for leaf in _flat(part)]
    return [item]


class _Watch(TorchFunctionMode):
    """Notes functions of tensors outside of layers, and layers as a whole.

    A tensor carries its name as an attribute: what works in place gives it a new one.
    """

    def __init__(self, notes, paths, drops):
        super().__init__()
        self.notes, self.paths, self.drops = notes, paths, drops
        self.inside = 0
        self.where = [""]

    def see(self, tensor):
        """The name of a tensor, new where nobody has seen it."""
        name = getattr(tensor, "_netglot", None)
        if name is None or name not in self.notes.values:
            name = self.keep(tensor)
        return name

    def keep(self, tensor):
        """A new name for a tensor; what this does to it is not noted."""
        self.inside += 1
        try:
            tensor._netglot = self.notes.value(_array(tensor))
        finally:
            self.inside -= 1
        return tensor._netglot

    def name_of(self, item):
        """A tensor as an argument: a weight of the model, or a value."""
        if not isinstance(item, torch.Tensor):
            if isinstance(item, (torch.dtype, torch.device, torch.memory_format)):
                return {"other": str(item)}
            return None
        if id(item) in self.paths:
            return {"weight": self.paths[id(item)]}
        return {"value": self.see(item)}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.inside:
            return function(*args, **kwargs)
        kind = resolve_name(function) or recorder.full_name(function)
        # Before the call: what works in place changes its argument.
        tensors = any(isinstance(t, torch.Tensor) for t in _flat([args, kwargs]))
        quiet = kind.endswith((".__get__", ".size", ".dim", "requires_grad_"))
        if not tensors or (quiet and not kind.endswith(_TURNS)):
            return function(*args, **kwargs)
        encode = recorder.encode
        given = [encode(args, self.name_of), encode(kwargs, self.name_of)["map"]]
        self.casts(self.where[-1])
        self.inside += 1
        try:
            if kind in _DROPOUTS and not self.drops:
                result = args[0] if args else kwargs["input"]
            else:
                result = function(*args, **kwargs)
        finally:
            self.inside -= 1
        found = [t for t in _flat(result) if isinstance(t, torch.Tensor)]
        if not found:
            return result
        self.notes.call(
            kind, self.where[-1], given, self.fresh(found), source=recorder.where()
        )
        return result

    def casts(self, path):
        """Notes that autocast is on where a layer or function is called."""
        for found in precision.autocasts():
            self.notes.short(found["name"], found["value"], found["change"], path)

    def fresh(self, tensors):
        """New names for what a call has made."""
        return [self.keep(tensor) for tensor in tensors]

    def hook(self, model):
        """Hooks on all modules; what removes them."""
        removers = []
        for path, module in model.named_modules():
            own = type(module).__module__.startswith("torch.nn")
            leaf = own and (
                isinstance(module, WHOLE) or not any(True for _ in module.children())
            )
            before, after = (
                self.layer(path, module) if leaf else self.container(path, module)
            )
            removers.append(module.register_forward_pre_hook(before, with_kwargs=True))
            removers.append(
                module.register_forward_hook(after, with_kwargs=True, always_call=True)
            )
        return removers

    def container(self, path, module):
        """Hooks of a module of modules: where functions stand."""

        def before(module, args, kwargs):
            self.where.append(path)

        def after(module, args, kwargs, result):
            self.where.pop()

        return before, after

    def layer(self, path, module):
        """Hooks of a module that is one layer."""
        pending = []

        def before(module, args, kwargs):
            if not self.inside:
                encode = recorder.encode
                given = [
                    encode(args, self.name_of),
                    encode(kwargs, self.name_of)["map"],
                ]
                pending.append(given)
                self.casts(path)
            if isinstance(module, nn.modules.dropout._DropoutNd) and not self.drops:
                module.eval()
            self.inside += 1

        def after(module, args, kwargs, result):
            self.inside -= 1
            if self.inside or not pending or result is None:
                return
            tensors = [t for t in _flat(result) if isinstance(t, torch.Tensor)]
            own = dict(module.named_parameters())
            own.update(module.named_buffers())
            prefix = path + "." if path else ""
            self.notes.call(
                recorder.full_name(type(module)),
                path,
                pending.pop(),
                self.fresh(tensors),
                attributes={
                    k: v
                    for k, v in vars(module).items()
                    if not k.startswith("_") and recorder.simple(v)
                },
                weights={
                    name: self.paths.get(id(tensor), prefix + name)
                    for name, tensor in own.items()
                },
                training=module.training,
                source=recorder.where(),
                made=getattr(module, "_netglot_made", ""),
            )

        return before, after
