"""One side of a comparison: a model in its interpreter, and what is asked of it.

Every function takes and gives what JSON can say; arrays travel as files.
"""

# mypy: no-check-untyped-defs

import contextlib
import functools
import importlib
import importlib.util
import os
import sys

import numpy as np

from . import precision, recorder

#: Which framework watches a model, by the modules of the classes that it is made of.
WATCHERS = (("torch", "pytorch"), ("keras", "keras"), ("flax", "flax"), ("jax", "flax"))
#: What a file may import without the framework itself, which comes with it.
ENGINES = (("jax", "flax"), ("tensorflow", "keras"))
#: The models that were opened, by number.
_OPEN = {}  # type: ignore[var-annotated]


class Mistake(Exception):
    """What was asked cannot be done; the message says why."""


class Opened:
    """A model, how it is trained, and its watcher."""

    def __init__(self, model, watcher, loss=None, optimizer=None):
        self.model, self.watcher = model, watcher
        self.loss, self.optimizer = loss, optimizer


def open_file(path, name, seed=0, dtype="float32"):
    """Makes the model that ``name`` of a Python file makes.

    A class or function is called without arguments; it gives the model, or a tuple of
    the model, its optimizer and its loss. Answers number, framework, version, weights.
    A Linen model comes bound, a function of JAX as ``functools.partial(f, weights)``.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    engines = [top for top, _ in ENGINES]
    named = [w for top, w in WATCHERS if top not in engines and _mentions(path, top)]
    named = named or [w for top, w in ENGINES if _mentions(path, top)]
    watchers = [_watcher(w) for w in named if _installed(w)]
    for watcher in watchers:
        watcher.prepare(dtype, seed)
    stem = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    spec.loader.exec_module(module)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(module) if not n.startswith("_")]
            raise Mistake(
                "%s has no %s; it has %s" % (path, name, ", ".join(sorted(names)))
            )
        found = getattr(found, part)
    built = found
    if isinstance(found, type) or not _is_model(found):
        with _making(watchers):
            built = found()
    return open_model(built, dtype=dtype)


def open_model(built, dtype="float32"):
    """Takes a model, or (model, optimizer[, loss]); answers as ``open_file``."""
    parts = built if isinstance(built, tuple) else (built,)
    model = parts[0]
    watcher = _watcher_of(model)
    optimizer = parts[1] if len(parts) > 1 else None
    loss = parts[2] if len(parts) > 2 else None
    model, optimizer, loss = watcher.adopt(model, optimizer, loss, dtype)
    number = len(_OPEN)
    _OPEN[number] = Opened(model, watcher, loss, optimizer)
    return {
        "number": number,
        "framework": watcher.NAME,
        "version": watcher.version(),
        "class": recorder.full_name(type(parts[0])),
        "weights": {
            path: list(np.shape(array))
            for path, array in watcher.get_weights(model).items()
        },
        "trains": optimizer is not None and loss is not None,
    }


def record(number, inputs, folder, weights=None, training=False, full=False):
    """Runs the model once and writes down all that it does.

    ``inputs`` is an ``.npz`` whose arrays are given in order; ``weights`` an ``.npz``
    of arrays by the model's own paths, set before. With ``training`` layers behave as
    in training, but that nothing is dropped; the gradients of the sum of
    ``sin(y) + y * y / 2`` over all outputs ``y`` go to ``gradients.npz``. With ``full``
    nothing that shortens float32 is on, as far as it can be switched off.
    Answers ``error`` where the model raises.
    """
    opened = _OPEN[number]
    if weights:
        opened.watcher.set_weights(opened.model, dict(np.load(weights)))
    with np.load(inputs) as file:
        arrays = [file[name] for name in file.files if name != "y"]
    notes = recorder.Recorder(folder, opened.watcher.NAME, opened.watcher.version())
    wide = contextlib.nullcontext()
    if full:
        wide = precision.full(opened.watcher.shortened(opened.model))
    try:
        with wide:
            opened.watcher.record(opened.model, arrays, notes, training)
    except Exception as error:
        return {"error": notes.failed(error)}
    return {"calls": len(notes.calls), "values": len(notes.values)}


def settings():
    """What shortens float32 in whatever was imported."""
    return {"settings": precision.settings()}


def get_weights(number, path):
    """Writes the model's weights into an ``.npz``."""
    opened = _OPEN[number]
    np.savez(path, **opened.watcher.get_weights(opened.model))
    return {}


def set_weights(number, path):
    """Sets the model's weights to those of an ``.npz``."""
    opened = _OPEN[number]
    with np.load(path) as file:
        opened.watcher.set_weights(opened.model, dict(file))
    return {}


def steps(number, inputs, folder, weights=None):
    """Optimizer steps on batches, with the weights and gradients of every one.

    ``inputs`` has ``x`` and ``y`` with a first axis of batches. Writes
    ``step_0.npz`` (before), ``step_1.npz``, ... and ``gradients_1.npz``, ...
    Answers the losses.
    """
    opened = _OPEN[number]
    if opened.optimizer is None or opened.loss is None:
        raise Mistake("the model came without its optimizer and loss")
    if weights:
        opened.watcher.set_weights(opened.model, dict(np.load(weights)))
    with np.load(inputs) as file:
        xs, ys = file["x"], file["y"]
    os.makedirs(folder, exist_ok=True)

    def save(name, arrays):
        np.savez(os.path.join(folder, name), **arrays)

    save("step_0.npz", opened.watcher.get_weights(opened.model))
    losses = []
    for index in range(1, len(xs) + 1):
        x, y = xs[index - 1], ys[index - 1]
        loss, gradients = opened.watcher.step(opened, x, y)
        losses.append(float(loss))
        save("gradients_%d.npz" % index, gradients)
        save("step_%d.npz" % index, opened.watcher.get_weights(opened.model))
    return {"losses": losses, "optimizer": opened.watcher.describe(opened.optimizer)}


def _watcher(name):
    return importlib.import_module("." + name, __package__)


def _mentions(path, top):
    with open(path, "rb") as file:
        text = file.read()
    return ("import %s" % top).encode() in text or ("from %s" % top).encode() in text


def _installed(name):
    """Whether the framework of a watcher is there; the file may do without it."""
    top = next(top for top, watcher in WATCHERS if watcher == name)
    return importlib.util.find_spec(top) is not None


def _making(watchers):
    stack = contextlib.ExitStack()
    for watcher in watchers:
        stack.enter_context(watcher.making())
    return stack


def _is_model(item):
    try:
        _watcher_of(item)
    except Mistake:
        return False
    return True


def _holds_arrays(item):
    """Whether weights are among what a function was given."""
    if isinstance(item, dict):
        return any(_holds_arrays(part) for part in item.values())
    if isinstance(item, (list, tuple)):
        return any(_holds_arrays(part) for part in item)
    return hasattr(item, "shape") and hasattr(item, "dtype")


def _watcher_of(model):
    """The watcher of the framework that the model's class comes from."""
    if isinstance(model, functools.partial) and _holds_arrays(model.args):
        return _watcher("flax")
    for base in type(model).__mro__:
        top = (base.__module__ or "").split(".")[0]
        for name, watcher in WATCHERS:
            if top == name:
                return _watcher(watcher)
    raise Mistake(
        "%s is no model of PyTorch, Flax or Keras" % recorder.full_name(type(model))
    )
