"""Writes down what a model does: every call in order, every value as a file."""

# mypy: no-check-untyped-defs

import contextlib
import json
import os
import sys
import traceback

import numpy as np

from . import precision

#: Folders of code that is nobody's model: the frames of a framework.
_LIBRARY = ("site-packages", "dist-packages", os.path.dirname(os.__file__))
_HERE = os.path.dirname(os.path.abspath(__file__))


class Recorder:
    """One run of a model, written into a folder.

    ``values/NAME.npy`` are written at once, so that no more than one value is held;
    ``recording.json`` is written by ``finish``.
    """

    def __init__(self, folder, framework, version):
        self.folder, self.framework, self.version = folder, framework, version
        self.calls, self.values = [], {}
        self.notes, self.settings = [], {}
        os.makedirs(os.path.join(folder, "values"), exist_ok=True)

    def value(self, array):
        """Keeps an array; the name under which it is known from now on."""
        name = "v%d" % len(self.values)
        array = plain(array)
        np.save(os.path.join(self.folder, "values", name + ".npy"), array)
        self.values[name] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        return name

    def unseen(self, shape, dtype):
        """The name of a value that exists but was not kept."""
        name = "v%d" % len(self.values)
        self.values[name] = {"shape": list(shape), "dtype": str(dtype), "unseen": True}
        return name

    def call(self, kind, path, arguments, outputs, **more):
        """Notes one use of a layer or function.

        ``kind`` is its full name in the framework; ``path`` where it stands in the
        model; ``arguments`` is ``[positional, keyword]`` as ``encode`` gives them;
        ``outputs`` the names of its values. ``more``: ``attributes`` of a layer,
        ``weights`` (own name: path in the model), ``training``, ``source``, ``made``.
        """
        entry = {
            "kind": kind,
            "path": path,
            "arguments": arguments,
            "outputs": outputs,
            "attributes": {},
            "weights": {},
            "training": False,
            "source": "",
            "made": "",
        }
        entry.update(more)
        self.calls.append(entry)
        value = entry["attributes"].get("dtype")
        if isinstance(value, str) and precision.type_of(value):
            change = "dtype=%r of that layer" % "float32"
            self.short("dtype", value, change, path, single=False)

    def short(self, name, value, change, where, single=True):
        """Notes a setting under which a layer computes with a shorter type."""
        self.settings[name, where] = precision.setting(
            name, value, precision.type_of(value), change, where, single
        )

    def finish(self, inputs, outputs, weights, **more):
        """Writes the recording; ``weights`` are arrays by path, ``more`` is JSON."""
        np.savez(os.path.join(self.folder, "weights.npz"), **weights)
        content = {
            "framework": self.framework,
            "version": self.version,
            "inputs": inputs,
            "outputs": outputs,
            "values": self.values,
            "calls": self.calls,
            "notes": self.notes,
            "settings": [*precision.settings(), *self.settings.values()],
        }
        content.update(more)
        write_json(os.path.join(self.folder, "recording.json"), content)

    def failed(self, error):
        """What is known of a model that raised: its traceback and how far it came."""
        last = self.calls[-1] if self.calls else None
        return {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": own_traceback(error),
            "calls": len(self.calls),
            "last": "%s (%s)" % (last["path"], last["kind"]) if last else "",
        }


def plain(array):
    """An array of a type that NumPy can write: bfloat16 and the like as float32."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def encode(item, name_of):
    """An argument as JSON; ``name_of(item)`` gives a value or weight, or None."""
    found = name_of(item)
    if found is not None:
        return found
    if item is None or isinstance(item, (bool, int, str)):
        return item
    if isinstance(item, float):
        return item if np.isfinite(item) else {"number": repr(item)}
    if isinstance(item, (list, tuple)):
        return [encode(part, name_of) for part in item]
    if isinstance(item, dict):
        return {"map": {str(k): encode(v, name_of) for k, v in item.items()}}
    if isinstance(item, slice):
        return {
            "slice": [encode(p, name_of) for p in (item.start, item.stop, item.step)]
        }
    if item is Ellipsis:
        return {"ellipsis": True}
    if isinstance(item, np.generic):
        return encode(item.item(), name_of)
    if callable(item):
        return {"function": full_name(item)}
    return {"other": repr(item)[:200]}


def full_name(item):
    """``module.name`` of a class or function."""
    name = getattr(item, "__qualname__", None) or type(item).__qualname__
    return "%s.%s" % (getattr(item, "__module__", "") or "", name)


def simple(item):
    """Whether an attribute of a layer can be written down as it is."""
    if isinstance(item, (list, tuple)):
        return all(simple(part) for part in item)
    return item is None or isinstance(item, (bool, int, float, str))


def where():
    """File and line of the user's innermost frame, as ``theirs.py line 31``."""
    return line(_frames(sys._getframe(1)))


def _frames(frame):
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def line(frames):
    """The first of ``(file, line)``, innermost first, that is the user's."""
    for name, number in frames:
        own = os.path.abspath(name).startswith(_HERE)
        if own and os.path.basename(name) == "session.py":
            # Whoever asked is not the user.
            return ""
        if (
            not own
            and not name.startswith("<")
            and not any(p in name for p in _LIBRARY)
        ):
            return "%s line %d" % (os.path.basename(name), number)
    return ""


def own_traceback(error):
    """The traceback of an error, without the frames of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    kept = [f for f in frames if not os.path.abspath(f.filename).startswith(_HERE)]
    lines = traceback.format_list(kept)
    lines += traceback.format_exception_only(type(error), error)
    return "".join(["Traceback (most recent call last):\n", *lines])


def write_json(path, content):
    """A JSON file, whole or not at all."""
    with open(path + ".part", "w") as file:
        json.dump(content, file)
    os.replace(path + ".part", path)


@contextlib.contextmanager
def patched(owner, name, value):
    """An attribute replaced for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield before
    finally:
        setattr(owner, name, before)
