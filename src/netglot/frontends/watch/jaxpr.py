"""Traces a function of JAX and runs the trace, equation by equation, noting all calls.

Layers and the functions of ``jax.nn`` mark their values while the model is traced: what
lies between the marks of a layer is that layer. Every other equation is a call of its
own, but for a few that belong together (a product and its bias).
"""

# mypy: no-check-untyped-defs

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from . import recorder

#: Numbers of marks are never used twice: those that a cache has kept are told apart.
_NUMBERS = itertools.count()
_PREFIX = "netglot"
#: Who listens to marked functions now.
_LISTENING = []  # type: ignore[var-annotated]
#: Equations that hold a function of their own, which is looked into.
_OPEN = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "checkpoint",
    "remat",
    "remat2",
}
#: Functions of ``jax.nn`` that are one call, where they were reached without a mark.
_WHOLE = {"relu", "relu6", "silu", "elu", "selu", "leaky_relu", "softplus"}
_HARDLY = "jax_disable_most_optimizations"
#: Equations that change neither numbers nor axes.
_SAME = {"name", "copy", "copy_p", "stop_gradient", "optimization_barrier"}
_BINARY = {"add", "sub", "mul", "div", "max", "min", "pow"}
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min"}


def is_array(item):
    """Whether an item is an array of numbers, traced or not."""
    return isinstance(item, (jax.Array, np.ndarray)) and not jnp.issubdtype(
        item.dtype, jax.dtypes.prng_key
    )


def arrays_in(item):
    """All arrays in tuples, lists and dictionaries, in order."""
    found = []
    _replaced(item, found.append)
    return found


def _replaced(item, function):
    """The same tuples, lists and dictionaries with ``function`` of every array."""
    if is_array(item):
        return function(item)
    if isinstance(item, (list, tuple)):
        parts = [_replaced(part, function) for part in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    if isinstance(item, dict):
        return {key: _replaced(part, function) for key, part in item.items()}
    return item


@contextlib.contextmanager
def hardly_optimised():
    """While every operation is compiled for one use: a fraction of the time."""
    before = jax.config.read(_HARDLY)
    jax.config.update(_HARDLY, True)
    try:
        yield
    finally:
        jax.config.update(_HARDLY, before)


# --- Marks ----------------------------------------------------------------------------


class Marks:
    """What layers and functions say of themselves while a model is traced."""

    def __init__(self):
        self.entries, self.done = {}, []
        #: Paths of the weights of every layer, by its path and their own names.
        self.weights = {}
        #: Inside of a layer nobody else speaks.
        self.inside = 0
        self.where = [""]

    def call(self, about, function, args, kwargs, whole=True):
        """Calls a function with its arrays marked on the way in and out.

        ``about`` is what is noted of it (as of ``recorder.call``). What is not
        ``whole`` is a module of others: only where they stand is noted.
        """
        number = next(_NUMBERS)
        slots = {}

        def enter(array):
            array = jnp.asarray(array)
            place = len(slots)
            array = checkpoint_name(array, "%s:%d:in:%d" % (_PREFIX, number, place))
            slots[id(array)] = (place, array)
            return array

        def name_of(item):
            if id(item) in slots:
                return {"slot": slots[id(item)][0]}
            if isinstance(item, (np.dtype, type)) or is_array(item):
                return {"other": str(item)[:200]}
            return None

        args, kwargs = _replaced((args, kwargs), enter)
        if not slots:
            checkpoint_name(jnp.zeros(()), "%s:%d:in:-1" % (_PREFIX, number))
        entry = dict(about, whole=whole, source=recorder.where())
        if whole:
            encode = recorder.encode
            entry["arguments"] = [encode(args, name_of), encode(kwargs, name_of)["map"]]
        self.entries[number] = entry
        self.inside += whole
        if not whole:
            self.where.append(about["path"])
        try:
            result = function(*args, **kwargs)
        finally:
            self.inside -= whole
            if not whole:
                self.where.pop()
        made = []

        def leave(array):
            label = "%s:%d:out:%d" % (_PREFIX, number, len(made))
            made.append(checkpoint_name(jnp.asarray(array), label))
            return made[-1]

        result = _replaced(result, leave)
        if not made:
            checkpoint_name(jnp.zeros(()), "%s:%d:out:-1" % (_PREFIX, number))
        entry["count"] = len(made)
        entry["shapes"] = [(x.shape, x.dtype) for x in made]
        self.done.append(entry)
        return result

    def failed(self, notes):
        """Notes how far a model came that raised while it was traced."""
        for entry in self.done:
            if entry["whole"]:
                outputs = [notes.unseen(*one) for one in entry["shapes"]]
                notes.call(entry["kind"], entry["path"], [[], {}], outputs)


@contextlib.contextmanager
def listening(marks):
    """While marked functions report to ``marks``."""
    _LISTENING.append(marks)
    try:
        yield
    finally:
        _LISTENING.pop()


def mark_functions(functions, places):
    """Replaces functions (by kind) by marked ones, wherever ``places`` name them.

    For good, and before the model's file is read: it may keep them under other names.
    """
    marked = {id(f): _marked(f, kind) for kind, f in functions.items()}
    for place in places:
        for name, item in list(vars(place).items()):
            if id(item) in marked:
                setattr(place, name, marked[id(item)])


def listens(marks):
    """Whether marked functions report to these marks now."""
    return bool(_LISTENING) and _LISTENING[-1] is marks


def is_marked(function):
    """Whether a function is one that ``mark_functions`` has made."""
    return hasattr(function, "_netglot")


def _marked(function, kind):
    @functools.wraps(function)
    def marked(*args, **kwargs):
        if not _LISTENING or _LISTENING[-1].inside:
            return function(*args, **kwargs)
        marks = _LISTENING[-1]
        about = {"kind": kind, "path": marks.where[-1]}
        args, kwargs = _plain(args), _plain(kwargs)
        return marks.call(about, function, args, kwargs)

    marked._netglot = function
    return marked


def _plain(item):
    """Variables of NNX as their arrays."""
    if isinstance(item, tuple):
        return tuple(_plain(part) for part in item)
    if isinstance(item, dict):
        return {key: _plain(part) for key, part in item.items()}
    return jnp.asarray(item) if hasattr(item, "__jax_array__") else item


# --- The trace ------------------------------------------------------------------------


def trace(function, weights, inputs, marks):
    """The trace of ``function(weights, inputs)``, a list of arrays.

    Functions that the model compiles itself are kept by JAX with the marks of another
    run; where there are such, all is traced once more without what was kept.
    """
    with listening(marks):
        closed = jax.make_jaxpr(function)(weights, inputs)
    if _marks_of(closed.jaxpr) == set(marks.entries):
        return closed
    jax.clear_caches()
    marks.entries.clear()
    del marks.done[:]
    with listening(marks):
        return jax.make_jaxpr(function)(weights, inputs)


def _label(equation):
    """``(number, side, place)`` of one of our marks, else None."""
    if equation.primitive.name != "name":
        return None
    parts = equation.params["name"].split(":")
    if parts[0] != _PREFIX:
        return None
    return int(parts[1]), parts[2], int(parts[3])


def _bodies(equation):
    for item in equation.params.values():
        for part in item if isinstance(item, (list, tuple)) else (item,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def _marks_of(jaxpr):
    found = set()
    for equation in jaxpr.eqns:
        label = _label(equation)
        if label:
            found.add(label[0])
        for body in _bodies(equation):
            found |= _marks_of(body)
    return found


def _body(equation):
    """The function inside of an equation, with its constants."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        item = equation.params.get(name)
        if item is not None:
            return getattr(item, "jaxpr", item), getattr(item, "consts", ())
    return None


def _line(equation):
    """The user's innermost line that made an equation."""
    found = getattr(equation.source_info, "traceback", None)
    frames = ((f.file_name, f.line_num) for f in found.frames) if found else ()
    return recorder.line(frames)


class _Step:
    """An equation, or a mark, over values that are known by number."""

    def __init__(self, equation, ins, outs, line, label=None, layer=False):
        self.equation, self.ins, self.outs = equation, ins, outs
        self.line, self.label, self.layer = line, label, layer
        self.name = equation.primitive.name
        self.params = equation.params


class _Flat:
    """The trace as one list of steps, the functions in it opened."""

    def __init__(self, closed, marks):
        self.marks, self.steps, self.constants = marks, [], {}
        self.shapes = {}
        #: Number of the layer that is entered, and how many more marks leave it.
        self.layer, self.left = None, 0
        self.numbers = itertools.count()
        jaxpr = closed.jaxpr
        self.ins = [self.fresh(v) for v in jaxpr.invars]
        self.outs = self.open(jaxpr, closed.consts, self.ins, "")

    def fresh(self, variable):
        number = next(self.numbers)
        self.shapes[number] = tuple(getattr(variable.aval, "shape", ()))
        return number

    def constant(self, value):
        number = next(self.numbers)
        self.constants[number] = value
        self.shapes[number] = np.shape(value)
        return number

    def open(self, jaxpr, constants, given, line):
        known = dict(zip(jaxpr.invars, given))
        for variable, value in zip(jaxpr.constvars, constants):
            known[variable] = self.constant(value)

        def read(atom):
            return self.constant(atom.val) if hasattr(atom, "val") else known[atom]

        for equation in jaxpr.eqns:
            ins = [read(atom) for atom in equation.invars]
            here = line or _line(equation)
            label = _label(equation)
            body = _body(equation) if equation.primitive.name in _OPEN else None
            name = equation.params.get("name")
            whole = name in _WHOLE and len(equation.outvars) == 1
            if body and self.layer is None and not whole:
                # A function of the library keeps the lines of its first use.
                inner = "" if _marks_of(body[0]) else here
                outs = self.open(body[0], body[1], ins, inner)
            else:
                outs = [self.fresh(v) for v in equation.outvars]
                self.add(equation, ins, outs, here, label)
            known.update(zip(equation.outvars, outs))
        return [read(atom) for atom in jaxpr.outvars]

    def add(self, equation, ins, outs, line, label):
        entry = self.marks.entries.get(label[0]) if label else None
        inside = self.layer is not None
        if label and entry is None:
            label = None  # The mark of another run.
        if entry and entry["whole"]:
            number, side, place = label
            if side == "in" and self.layer is None:
                self.layer = number
            elif side == "out" and place in (-1, entry["count"] - 1):
                self.layer = None
        self.steps.append(_Step(equation, ins, outs, line, label, inside))


# --- Running it -----------------------------------------------------------------------


def run(closed, marks, notes, paths, arrays):
    """Runs a trace and notes its calls; names of its inputs and of its outputs.

    ``arrays`` are the values of all inputs, ``paths`` the paths of those that are
    weights, else None.
    """
    return _Run(closed, marks, notes, paths, arrays).all()


class _Run:
    def __init__(self, closed, marks, notes, paths, arrays):
        self.flat, self.marks, self.notes = _Flat(closed, marks), marks, notes
        self.steps, self.shapes = self.flat.steps, self.flat.shapes
        self.paths = dict(zip(self.flat.ins, paths))
        self.values = dict(zip(self.flat.ins, arrays))
        self.values.update(self.flat.constants)
        self.constants = set(self.flat.constants)
        self.names = {}
        self.where = [""]
        #: Arguments of the layers that are entered, by mark.
        self.slots, self.results = {}, {}
        self.users = {}
        for index, step in enumerate(self.steps):
            for number in step.ins:
                self.users.setdefault(number, []).append(index)
        for number in self.flat.outs:
            self.users.setdefault(number, []).append(len(self.steps))
        #: Values that are weights with their axes moved: ``(path, axes)``.
        self.views = {
            number: (path, tuple(range(len(self.shapes[number]))))
            for number, path in self.paths.items()
            if path is not None
        }
        #: Steps that belong to a later one: what that one is; and those without words.
        self.joined, self.silent = {}, set()
        #: Values that are others, spread along axes of size 1.
        self.spread = {}
        for index, step in enumerate(self.steps):
            self.follow(index, step)
        for index, step in enumerate(self.steps):
            if not (step.label or step.layer or index in self.silent):
                self.join(index, step)
        self.bases = set(self.spread.values())

    # What can be said before anything is computed.

    def follow(self, index, step):
        """Where constants and weights go."""
        if all(number in self.constants for number in step.ins):
            self.constants.update(step.outs)
        one = len(step.ins) == 1 and step.ins[0] in self.views
        if step.layer and not step.label:
            return
        found = self.view(step, *self.views[step.ins[0]]) if one else None
        if found:
            self.views[step.outs[0]] = found
            self.silent.add(index)

    def join(self, index, step):
        """Steps that belong together."""
        if index in self.joined:
            return
        if step.name in ("dot_general", "conv_general_dilated"):
            self.with_bias(index, step)
        elif step.name in _REDUCTIONS:
            self.reduction(index, step)
        elif step.name == "slice":
            self.part(index, step)
        elif step.name == "broadcast_in_dim":
            self.broadcast(index, step)

    def same(self, step):
        if step.name == "convert_element_type":
            aval = step.equation.invars[0].aval
            return aval.dtype == step.params["new_dtype"]
        return step.name in _SAME and len(step.ins) == 1

    def view(self, step, path, axes):
        """A weight with its axes in another order, or with more of size 1."""
        before, after = self.shapes[step.ins[0]], self.shapes[step.outs[0]]
        if self.same(step):
            return path, axes
        if step.name == "transpose":
            return path, tuple(axes[i] for i in step.params["permutation"])
        if step.name == "squeeze":
            gone = {d % len(before) for d in step.params["dimensions"]}
            return path, tuple(a for i, a in enumerate(axes) if i not in gone)
        if step.name == "broadcast_in_dim":
            places = step.params["broadcast_dimensions"]
            if any(after[p] != n for p, n in zip(places, before)):
                return None
            found = dict(zip(places, axes))
            return path, tuple(found.get(i) for i in range(len(after)))
        if step.name == "reshape":
            large = [a for a, n in zip(axes, before) if n != 1]
            if [n for n in before if n != 1] != [n for n in after if n != 1]:
                return None
            left = iter(large)
            return path, tuple(next(left) if n != 1 else None for n in after)
        return None

    def only_user(self, number):
        """The one step that reads a value, outside of layers; None else."""
        users = self.users.get(number, [])
        if len(users) != 1 or users[0] >= len(self.steps):
            return None, None
        step = self.steps[users[0]]
        if step.layer or step.label:
            return None, None
        return users[0], step

    def with_bias(self, index, step):
        """A product with a weight takes the bias along that is added to it."""
        if step.ins[1] not in self.views or step.ins[0] in self.views:
            return
        later, addition = self.only_user(step.outs[0])
        if addition is None or addition.name != "add":
            return
        (other,) = [n for n in addition.ins if n != step.outs[0]] or [None]
        bias = self.views.get(other)
        if bias is None:
            return
        rank = len(self.shapes[step.outs[0]])
        place = rank - 1
        if step.name == "conv_general_dilated":
            place = step.params["dimension_numbers"].out_spec[1]
        if len(bias[1]) != rank or [
            i for i, a in enumerate(bias[1]) if a is not None
        ] != [place]:
            return
        positional = [step.ins[0], step.ins[1]]
        more = dict(step.params, bias={"weight": bias[0], "axes": list(bias[1])})
        self.joined[later] = ("jax." + step.name, positional, more)
        self.silent.add(index)

    def reduction(self, index, step):
        """A sum over axes takes along that they are kept, and the division by n."""
        axes = [int(a) for a in step.params["axes"]]
        before = self.shapes[step.ins[0]]
        keep, steps, kind = False, [index], "jax." + step.name
        kept = [1 if i in axes else n for i, n in enumerate(before)]
        last = step.outs[0]
        later, user = self.only_user(last)
        reshapes = user is not None and user.name in ("broadcast_in_dim", "reshape")
        if reshapes and list(self.shapes[user.outs[0]]) == kept:
            keep, last = True, user.outs[0]
            steps.append(later)
            later, user = self.only_user(last)
        divides = user is not None and user.name == "div" and user.ins[0] == last
        if step.name == "reduce_sum" and divides:
            count = self.flat.constants.get(user.ins[1])
            number = int(np.prod([before[a] for a in axes]))
            if count is not None and np.ndim(count) == 0 and float(count) == number:
                kind = "jax.mean"
                steps.append(later)
        if len(steps) > 1:
            self.silent.update(steps[:-1])
            found = (kind, [step.ins[0]], {"axes": axes, "keepdims": keep})
            self.joined[steps[-1]] = found

    def part(self, index, step):
        """A slice, with the axes of size 1 that are taken away after it."""
        strides = step.params["strides"] or [1] * len(step.params["start_indices"])
        rows = zip(
            step.params["start_indices"],
            step.params["limit_indices"],
            strides,
            self.shapes[step.ins[0]],
        )
        item = []
        for start, stop, by, size in rows:
            whole = (start, stop, by) == (0, size, 1)
            parts = [None] * 3 if whole else [int(start), int(stop), int(by)]
            item.append({"slice": parts})
        later, user = self.only_user(step.outs[0])
        if user is not None and user.name == "squeeze":
            self.silent.add(index)
            index = later
            sizes = self.shapes[step.ins[0]]
            for axis in user.params["dimensions"]:
                start = int(step.params["start_indices"][axis])
                # As it was written: the last one has no number of its own.
                item[axis] = -1 if start == sizes[axis] - 1 else start
        self.joined[index] = ("jax.getitem", [step.ins[0]], {"index": item})

    def broadcast(self, index, step):
        """Values that arithmetic spreads along axes of size 1 are named themselves."""
        before, after = self.shapes[step.ins[0]], self.shapes[step.outs[0]]
        if len(before) != len(after) or before == after:
            return
        users = self.users.get(step.outs[0], [])
        if all(
            i < len(self.steps) and self.steps[i].name in _BINARY and not step.layer
            for i in users
        ):
            self.spread[step.outs[0]] = self.spread.get(step.ins[0], step.ins[0])
            self.silent.add(index)

    # Values.

    def see(self, number):
        """The name of a value, new where nobody has seen it."""
        number = self.spread.get(number, number)
        if number not in self.names:
            self.names[number] = self.keep(number)
        return self.names[number]

    def keep(self, number):
        array = np.asarray(self.values[number])
        if array.dtype.kind == "V":  # bfloat16 and the like, which NumPy has not.
            array = array.astype(np.float32)
        return self.notes.value(array)

    def operand(self, number):
        """A value as an argument: a weight, a number, or a value by name."""
        if number in self.views:
            path, axes = self.views[number]
            return {"weight": path, "axes": list(axes)}
        if number in self.constants:
            array = np.asarray(self.values[number])
            if array.size and array.dtype.kind in "fiub" and array.ndim == 0:
                return recorder.encode(array.item(), lambda item: None)
            if array.size > 1 and array.dtype.kind == "f" and np.ptp(array) == 0:
                return recorder.encode(array.flat[0].item(), lambda item: None)
        return {"value": self.see(number)}

    def all(self):
        inputs = [self.see(n) for n in self.flat.ins if self.paths[n] is None]
        for index, step in enumerate(self.steps):
            if step.label:
                self.mark(step)
            else:
                self.compute(step)
                if not step.layer:
                    self.note(index, step)
            for number in step.ins:
                if self.users[number][-1] <= index and number not in self.spread:
                    self.forget(number)
        return inputs, [self.see(n) for n in self.flat.outs]

    def forget(self, number):
        """Frees what nobody reads any more; not what stands for others."""
        if number not in self.bases:
            self.values.pop(number, None)

    def compute(self, step):
        equation = step.equation
        context = getattr(getattr(equation, "ctx", None), "manager", None)
        with context or contextlib.nullcontext():
            params = equation.primitive.get_bind_params(equation.params)
            # Before JAX 0.10 functions came apart from all other parameters.
            functions, params = params if isinstance(params, tuple) else ((), params)
            given = [self.values[n] for n in step.ins]
            found = equation.primitive.bind(*functions, *given, **params)
        if not equation.primitive.multiple_results:
            found = [found]
        self.values.update(zip(step.outs, found))

    def mark(self, step):
        """A value enters or leaves a layer."""
        number, side, place = step.label
        (source,), (target,) = step.ins, step.outs
        entry = self.marks.entries[number]
        self.values[target] = self.values[source]
        if not entry["whole"]:
            if side == "in" and place <= 0:
                self.where.append(entry["path"])
            elif side == "out" and place in (-1, entry["count"] - 1):
                self.where.pop()
            self.alias(source, target)
        elif side == "in":
            if place >= 0:
                found = self.operand(source)
                self.slots.setdefault(number, {})[place] = found
                self.alias(source, target)
        elif place >= 0:
            self.views.pop(target, None)
            self.constants.discard(target)
            self.results.setdefault(number, []).append(target)
            if place == entry["count"] - 1:
                self.layer(number, entry)

    def alias(self, source, target):
        if source in self.names or source in self.spread:
            self.names[target] = self.see(source)

    def layer(self, number, entry):
        arguments = _filled(entry["arguments"], self.slots.get(number, {}))
        outputs = []
        for target in self.results[number]:
            self.names[target] = self.keep(target)
            outputs.append(self.names[target])
        keys = ("attributes", "weights", "training", "source", "made")
        more = {key: entry[key] for key in keys if key in entry}
        self.notes.call(entry["kind"], entry["path"], arguments, outputs, **more)

    def note(self, index, step):
        """A call of its own, outside of layers."""
        if index in self.silent or all(n in self.constants for n in step.outs):
            return
        if self.same(step):
            self.alias(step.ins[0], step.outs[0])
            return
        kind, given, params = self.joined.get(index) or self.words(step)
        arguments = [
            [self.operand(n) for n in given],
            {key: _setting(value) for key, value in params.items()},
        ]
        outputs = []
        for number in step.outs:
            if self.users.get(number):
                self.names[number] = self.keep(number)
                outputs.append(self.names[number])
            else:
                outputs.append(self.notes.unseen(self.shapes[number], "float32"))
        self.notes.call(kind, self.where[-1], arguments, outputs, source=step.line)

    def words(self, step):
        """Kind, arguments and settings of a call."""
        name = step.params.get("name")
        if name in _WHOLE and step.name in _OPEN:
            return "jax.nn." + name, step.ins, _slope(name, step.equation)
        return "jax." + step.name, step.ins, step.params


def _slope(name, equation):
    """The number that is kept inside of a compiled ``elu`` or ``leaky_relu``."""
    if name not in ("elu", "leaky_relu") or len(equation.invars) > 1:
        return {}
    body = _body(equation)[0]
    key = {"elu": "alpha", "leaky_relu": "negative_slope"}[name]
    for inner in body.eqns:
        if inner.primitive.name == "mul":
            numbers = [float(a.val) for a in inner.invars if hasattr(a, "val")]
            return {key: numbers[0]} if numbers else {}
    return {}


def _filled(item, slots):
    """Arguments with what their arrays turned out to be."""
    if isinstance(item, dict):
        if "slot" in item:
            return slots[item["slot"]]
        return {key: _filled(part, slots) for key, part in item.items()}
    if isinstance(item, list):
        return [_filled(part, slots) for part in item]
    return item


def _setting(item):
    """A parameter of an equation as JSON."""
    if isinstance(item, (list, tuple)):
        return [_setting(part) for part in item]
    if isinstance(item, dict):
        return {str(key): _setting(part) for key, part in item.items()}
    if isinstance(item, np.generic):
        return item.item()
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    return str(item)[:80]
