"""Watches models of Flax (NNX, Linen) and plain functions of JAX with their weights.

A Linen model comes bound (``module.bind(variables)``), a plain function as
``functools.partial(function, weights)``. All become a function of weights and inputs.
"""

# mypy: no-check-untyped-defs

import contextlib
import functools
import inspect

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from . import jaxpr, precision, recorder, session

NAME = "flax"
#: Modules of Flax that hold others and are no layers.
_CONTAINERS = ("Module", "Sequential", "List", "Dict", "RNNCellBase")
#: Functions of ``jax.nn`` that are no layers.
_NO_LAYERS = ("get_scaled_dot_general_config", "initializers")
#: Layers that an ``nnx.SimpleCell`` hands its type on to.
_IN_A_CELL = ("dense_i", "dense_h")
#: Line that made an NNX module, by its identity; the module, so that it stays.
_MADE = {}  # type: ignore[var-annotated]


def version():
    """Of the framework."""
    return flax.__version__


def prepare(dtype, seed):
    """Before the model is made: its file finds marked functions."""
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    _mark_functions()


def _mark_functions():
    functions = {
        "jax.nn." + name: function
        for name, function in vars(jax.nn).items()
        if callable(function) and not name.startswith("_") and name not in _NO_LAYERS
    }
    for name in ("avg_pool", "max_pool", "min_pool"):
        functions["flax." + name] = getattr(nnx, name)
    functions["jax.image.resize"] = jax.image.resize
    # tanh is one equation; swish is silu.
    for name in ("tanh", "identity", "one_hot", "swish", "hard_swish"):
        functions.pop("jax.nn." + name, None)
    functions = {k: f for k, f in functions.items() if not jaxpr.is_marked(f)}
    jaxpr.mark_functions(functions, (jax.nn, jax.image, nnx, linen))


@contextlib.contextmanager
def making():
    """While the model is made: every NNX module remembers the line that made it."""
    metaclass = type(nnx.Module)
    call = metaclass.__call__

    def remembering(cls, *args, **kwargs):
        made = call(cls, *args, **kwargs)
        if isinstance(made, nnx.Module):
            _MADE[id(made)] = (recorder.where(), made)
        return made

    marked = recorder.patched(metaclass, "__call__", remembering)
    with marked, jaxpr.hardly_optimised():
        yield


class Held:
    """A model of one of three kinds (``nnx``, ``linen``, ``plain``).

    ``thing`` is the module or the ``partial``. ``weights`` are the arrays of the latter
    two by path; an NNX module holds its own. ``notes`` go into every recording.
    """

    def __init__(self, kind, thing, weights=None, tree=None):
        self.kind, self.thing, self.weights, self.tree = kind, thing, weights, tree
        self.notes, self.state, self.dtype = [], None, None


def adopt(model, optimizer, loss, dtype):
    """The model in a precision.

    What has its precision written down (``dtype=``) keeps it.
    """
    _mark_functions()
    if isinstance(model, nnx.Module):
        held = Held("nnx", model)
    elif isinstance(model, functools.partial):
        leaves, tree = jax.tree_util.tree_flatten_with_path(
            (model.args, model.keywords), is_leaf=lambda item: item is None
        )
        paths = [_path(keys, model) for keys, _ in leaves]
        weights = {p: jnp.asarray(x) for p, (_, x) in zip(paths, leaves) if _holds(x)}
        others = {p: x for p, (_, x) in zip(paths, leaves) if not _holds(x)}
        held = Held("plain", model, weights, (tree, paths, others))
    else:
        if isinstance(optimizer, dict):
            model, optimizer, loss = model.bind(optimizer), loss, None
        if model.scope is None:
            raise session.Mistake(
                "the Linen module %s came without its variables: give "
                "module.bind(variables)" % type(model).__name__
            )
        module, variables = model.unbind()
        held = Held("linen", module, _flat(linen.meta.unbox(variables)))
    held.dtype = jnp.dtype(dtype)
    if held.weights is not None:
        held.weights = {p: _cast(x, held.dtype) for p, x in held.weights.items()}
    else:
        _cast_module(held)
        if isinstance(optimizer, nnx.Optimizer):
            for variable in _variables_of(optimizer).values():
                _put(variable, _cast(_get(variable), held.dtype))
        elif optimizer is not None:
            optimizer = nnx.Optimizer(model, optimizer, wrt=nnx.Param)
    return held, optimizer, loss


def _path(keys, model):
    """The path of a weight of a plain function; one argument has no name."""
    parts = [_key(key) for key in keys]
    if parts[0] == "0" and len(model.args) == 1 and len(parts) > 2:
        return ".".join(parts[2:])
    return ".".join(parts[1:])


def _key(key):
    for name in ("key", "idx", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def _holds(item):
    return jaxpr.is_array(item)


def _flat(tree, prefix=""):
    found = {}
    for key, item in tree.items():
        if hasattr(item, "items"):
            found.update(_flat(item, "%s%s." % (prefix, key)))
        else:
            found[prefix + key] = jnp.asarray(item)
    return found


def _nested(weights):
    """Variables of Linen by their paths, as the dictionaries that they were."""
    tree = {}  # type: ignore[var-annotated]
    for path, array in weights.items():
        *parents, last = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = array
    return tree


def _cast(array, dtype):
    floats = jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(dtype) if floats else array


def _cast_module(held):
    for variable in _weights_of(held.thing).values():
        _put(variable, _cast(_get(variable), held.dtype))
    if held.dtype != jnp.float64:
        return
    for path, module in _modules(held.thing):
        name = ".".join(map(str, path)) or type(module).__name__
        if getattr(module, "param_dtype", None) == jnp.float32:
            module.param_dtype = held.dtype
        if getattr(module, "attention_fn", None) is nnx.dot_product_attention:
            module.attention_fn = _exact_attention
            held.notes.append(
                "%s: the softmax of its attention is one of float32; in this run it "
                "is one of float64" % name
            )
        if isinstance(module, (nnx.SimpleCell, nnx.Embed)) and (
            module.dtype == jnp.float32
        ):
            # Float32 is what nobody has asked for: the default, as of no other layer.
            for part in (module, *(getattr(module, n, None) for n in _IN_A_CELL)):
                if part is not None:
                    part.dtype = held.dtype
        elif getattr(module, "dtype", None) == jnp.float32:
            held.notes.append("%s computes in float32 (dtype=float32)" % name)


def _exact_attention(
    query, key, value, bias=None, mask=None, is_causal=False, **others
):
    """Attention in the type of its input; that of JAX has a softmax of float32."""
    scores = jnp.einsum("...qhd,...khd->...hqk", query, key)
    scores = scores / np.sqrt(query.shape[-1])
    if bias is not None:
        scores = scores + bias
    if is_causal:
        scores = jnp.where(jnp.tri(*scores.shape[-2:], dtype=bool), scores, -jnp.inf)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores), value)


# --- Weights --------------------------------------------------------------------------


def _nodes(module):
    """Everything in an NNX module, by path."""
    return [(tuple(path), item) for path, item in nnx.iter_graph(module)]


def _modules(module):
    return [(p, m) for p, m in _nodes(module) if isinstance(m, nnx.Module)]


def _get(variable):
    return variable.get_value() if hasattr(variable, "get_value") else variable.value


def _put(variable, array):
    if hasattr(variable, "set_value"):
        variable.set_value(array)
    else:
        variable.value = array


def _variables_of(module):
    """Variables with arrays of numbers, by path."""
    return {
        ".".join(map(str, path)): item
        for path, item in _nodes(module)
        if isinstance(item, nnx.Variable) and jaxpr.is_array(_get(item))
    }


def _weights_of(module):
    """Variables that are weights: neither random numbers nor what a run leaves."""
    others = (nnx.RngState, nnx.Intermediate, nnx.Cache)
    return {
        path: variable
        for path, variable in _variables_of(module).items()
        if not isinstance(variable, others)
    }


def shortened(model):
    """Modules of NNX that have a shorter type, and what they would be set to."""
    if model.kind != "nnx":
        return []
    return [
        (module, "dtype", model.dtype)
        for _, module in nnx.iter_modules(model.thing)
        if _short(getattr(module, "dtype", None))
    ]


def _short(dtype):
    plain = isinstance(dtype, (str, type, np.dtype))
    return plain and precision.type_of(jnp.dtype(dtype)) != ""


def get_weights(model):
    """Weights by path; each once, however often it is used."""
    return {path: np.array(x) for path, x in _arrays(model).items()}


def _arrays(model):
    if model.kind == "nnx":
        return {path: _get(v) for path, v in _weights_of(model.thing).items()}
    return dict(model.weights)


def set_weights(model, arrays):
    """Sets what ``get_weights`` gave; arrays of other paths are an error."""
    own = _arrays(model)
    variables = _weights_of(model.thing) if model.kind == "nnx" else {}
    for path, array in arrays.items():
        if own[path].shape != np.shape(array):
            raise ValueError(
                "%s has the shape %s, not %s" % (path, own[path].shape, np.shape(array))
            )
        array = jnp.asarray(array, own[path].dtype)
        if model.kind == "nnx":
            _put(variables[path], array)
        else:
            model.weights[path] = array


def _trained(model):
    """Paths of the weights that an optimizer moves."""
    if model.kind == "nnx":
        found = _weights_of(model.thing).items()
        return [p for p, v in found if isinstance(v, nnx.Param)]
    floats = [
        p for p, x in model.weights.items() if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    if model.kind == "linen":
        return [p for p in floats if p.startswith("params.")]
    return floats


# --- One run --------------------------------------------------------------------------


def record(model, arrays, notes, training):
    """Runs the model on NumPy arrays, noting every call."""
    marks = jaxpr.Marks()
    weights = _arrays(model)
    inputs = [_input(model, array) for array in arrays]

    def function(weights, inputs):
        result, _ = _apply(model, weights, inputs, training, marks)
        return jaxpr.arrays_in(result)

    _ready(model, training)
    with _watched(model, marks, training):
        try:
            closed = jaxpr.trace(function, weights, inputs, marks)
        except Exception:
            marks.failed(notes)
            raise
        if training:
            after = _gradients(model, weights, inputs, notes)
    paths = sorted(weights)
    given = [weights[path] for path in paths] + inputs
    with jaxpr.hardly_optimised():
        names, outputs = jaxpr.run(
            closed, marks, notes, paths + [None] * len(inputs), given
        )
    notes.notes.extend(model.notes)
    if training:
        # Running statistics have moved.
        set_weights(model, after)
    notes.finish(names, outputs, get_weights(model))


def _input(model, array):
    array = np.asarray(array)
    floats = array.dtype.kind == "f"
    return jnp.asarray(array, model.dtype) if floats else jnp.asarray(array)


def _ready(model, training):
    """An NNX module in training, but for its dropouts, or in evaluation."""
    if model.kind == "nnx":
        if training:
            model.thing.train()
            model.thing.set_attributes(deterministic=True, raise_if_not_found=False)
        else:
            model.thing.eval()


def _apply(model, weights, inputs, training, marks=None):
    """The model as a function: its result, and its weights after that."""
    if model.kind == "nnx":
        module = nnx.clone(model.thing)
        variables = _weights_of(module)
        for path, array in weights.items():
            _put(variables[path], array)
        if marks is not None:
            marks.weights = _named(module, variables)
        flags = _flags(type(module).__call__, training, 1 + len(inputs))
        result = module(*inputs, **flags)
        return result, {path: _get(v) for path, v in variables.items()}
    if model.kind == "linen":
        flags = _flags(type(model.thing).__call__, training, 1 + len(inputs))
        variables = _nested(weights)
        others = [name for name in variables if name != "params"]
        rngs = {"dropout": jax.random.key(0)}
        result, new = model.thing.apply(
            variables, *inputs, mutable=others, rngs=rngs, **flags
        )
        return result, dict(weights, **_flat(new))
    tree, paths, others = model.tree
    leaves = [weights[p] if p in weights else others[p] for p in paths]
    args, kwargs = jax.tree_util.tree_unflatten(tree, leaves)
    flags = _flags(model.thing.func, training, len(args) + len(inputs))
    kwargs = dict(flags, **kwargs)
    return model.thing.func(*args, *inputs, **kwargs), weights


def _named(module, variables):
    """The paths of all weights of every layer, by its path and their own names.

    A layer carries its path: where the model compiles a part itself, others stand for
    its layers, which are the same but for their identity.
    """
    paths = {id(variable): path for path, variable in variables.items()}
    found = {}
    for keys, part in _modules(module):
        part._netglot = ".".join(map(str, keys))
        own = _weights_of(part).items()
        found[part._netglot] = {
            name: paths[id(variable)] for name, variable in own if id(variable) in paths
        }
    return found


def _flags(function, training, taken):
    """What a model wants to be told of training, by the names that people use."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {}
    known = {
        "train": training,
        "training": training,
        "is_training": training,
        "deterministic": not training,
        "use_running_average": not training,
    }
    return {
        p.name: known[p.name]
        for index, p in enumerate(parameters)
        if p.name in known
        and (
            p.kind is p.KEYWORD_ONLY or (index >= taken and p.kind is not p.VAR_KEYWORD)
        )
    }


def _gradients(model, weights, inputs, notes):
    """The gradients of the same function of the outputs, whatever their axes.

    Answers the weights that the run itself has moved.
    """
    trained = _trained(model)
    fixed = {p: x for p, x in weights.items() if p not in trained}

    def total(moved):
        result, after = _apply(model, dict(fixed, **moved), inputs, True)
        leaves = jaxpr.arrays_in(result)
        floats = [y for y in leaves if jnp.issubdtype(y.dtype, jnp.floating)]
        loss = sum((jnp.sin(y) + y * y / 2).sum() for y in floats)
        return loss, {path: after[path] for path in fixed}

    moved = {path: weights[path] for path in trained}
    with jaxpr.hardly_optimised():
        found, after = jax.jit(jax.grad(total, has_aux=True))(moved)
    arrays = {path: np.array(x) for path, x in found.items()}
    np.savez(notes.folder + "/gradients.npz", **arrays)
    return after


# --- Layers ---------------------------------------------------------------------------


@contextlib.contextmanager
def _watched(model, marks, training):
    """While layers speak to ``marks`` (None: to nobody) and nothing is dropped."""
    with contextlib.ExitStack() as stack:
        if model.kind == "nnx":
            made = {
                ".".join(map(str, path)): _MADE[id(module)][0]
                for path, module in _modules(model.thing)
                if id(module) in _MADE
            }
            for owner in {_owner(type(m)) for _, m in _modules(model.thing)} - {None}:
                changed = _nnx_call(owner, marks, training, made)
                stack.enter_context(recorder.patched(owner, "__call__", changed))
        elif model.kind == "linen":
            about = _linen_call(model, marks, training)
            stack.enter_context(linen.intercept_methods(about))
        yield


def _owner(kind):
    """The class that says what a module does."""
    return next((c for c in kind.__mro__ if "__call__" in vars(c)), None)


def _is_layer(owner, package):
    return (
        owner.__module__.startswith("flax.%s." % package)
        and owner.__name__ not in _CONTAINERS
    )


def _nnx_call(owner, marks, training, made):
    original = owner.__call__
    layer = _is_layer(owner, "nnx")
    undropped = training and owner is nnx.Dropout

    @functools.wraps(original)
    def changed(self, *args, **kwargs):
        def function(*args, **kwargs):
            if undropped:
                return args[0] if args else kwargs["inputs"]
            if training and owner is nnx.MultiHeadAttention:
                kwargs = dict(kwargs, deterministic=True)
            return original(self, *args, **kwargs)

        speaks = marks is not None and jaxpr.listens(marks) and not marks.inside
        path = getattr(self, "_netglot", None)
        if not speaks or path is None:
            return function(*args, **kwargs)
        about = {"kind": _kind(type(self)), "path": path}
        if layer:
            about.update(
                attributes=_attributes(self),
                weights=marks.weights[path],
                training=_trains(self, args, kwargs, training),
                made=made.get(path, ""),
            )
        return marks.call(about, function, args, kwargs, whole=layer)

    return changed


def _kind(cls):
    """The name by which people know what a class does: ``flax.nnx.Linear``."""
    owner = _owner(cls) or cls
    for package in ("nnx", "linen"):
        if _is_layer(owner, package):
            # What nn.Conv does is written down in a private class below it.
            public = (c for c in cls.__mro__ if _is_layer(c, package))
            names = [c.__name__ for c in public if not c.__name__.startswith("_")]
            return "flax.%s.%s" % (package, names[0] if names else owner.__name__)
    return recorder.full_name(owner)


def _trains(module, args, kwargs, training):
    """Whether a layer does what it does in training alone."""
    for name in ("use_running_average", "deterministic"):
        given = kwargs.get(name, None)
        if given is None and len(args) > 1 and isinstance(args[1], (bool, np.bool_)):
            # The one argument that such a layer has besides its input.
            given = args[1]
        own = getattr(module, name, None)
        if given is not None or own is not None:
            return not (own if given is None else given)
    return training


def _attributes(module):
    """The settings of a layer; layers inside of it as a map of their own."""
    names = (
        list(module.__dataclass_fields__)
        if isinstance(module, linen.Module)
        else list(vars(module))
    )
    found = {}
    for name in names:
        item = getattr(module, name, None)
        if name.startswith("_") or name in ("parent", "name", "rngs"):
            continue
        if recorder.simple(item):
            found[name] = item
        elif isinstance(item, (nnx.Module, linen.Module)):
            kind = _kind(type(item))
            found[name] = {"layer": kind, "attributes": _attributes(item)}
        elif isinstance(item, (type, np.dtype)) and "dtype" in name:
            found[name] = str(jnp.dtype(item))
        elif callable(item):
            found[name] = {"function": recorder.full_name(item)}
    return found


def _linen_call(model, marks, training):
    """What stands between a Linen module and whoever calls it."""

    def about(following, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__":
            return following(*args, **kwargs)
        owner = _owner(type(module))
        layer = _is_layer(owner, "linen")
        path = _linen_path(module)
        spoken = {"kind": _kind(type(module)), "path": path}
        if layer:
            weights = _linen_weights(module, model.weights)
            spoken.update(
                attributes=_attributes(module),
                weights=weights,
                training=_trains(module, args, kwargs, training),
            )
            _prepare_linen(module, model, training)

        def function(*args, **kwargs):
            if training and owner is linen.Dropout:
                return args[0] if args else kwargs["inputs"]
            return following(*args, **kwargs)

        if marks is None or not jaxpr.listens(marks) or marks.inside:
            return function(*args, **kwargs)
        return marks.call(spoken, function, args, kwargs, whole=layer)

    return about


def _linen_path(module):
    return ".".join(module.path) if module.scope is not None else ""


def _prepare_linen(module, model, training):
    """Modules of Linen are made anew in every run: precision and dropout of this one.

    Their fields are frozen, which is meant for those who write models.
    """
    parts = [module]
    for name in ("cell", "forward_rnn", "backward_rnn"):
        part = getattr(module, name, None)
        parts += [part, getattr(part, "cell", None)]
    for part in parts:
        single = getattr(part, "param_dtype", None) == jnp.float32
        if model.dtype == jnp.float64 and single:
            object.__setattr__(part, "param_dtype", model.dtype)
        if model.dtype == jnp.float64 and getattr(part, "dtype", None) == jnp.float32:
            note = "%s computes in float32 (dtype=float32)" % _linen_path(part)
            if note not in model.notes:
                model.notes.append(note)
    if training and getattr(module, "dropout_rate", 0):
        object.__setattr__(module, "dropout_rate", 0.0)


def _linen_weights(module, weights):
    """Paths of the weights of a layer by its own names."""
    places = {"": module}
    for name in ("cell", "forward_rnn", "backward_rnn"):
        part = getattr(module, name, None)
        if part is not None:
            places[name + "."] = part
            if getattr(part, "cell", None) is not None:
                places[name + ".cell."] = part.cell
    found = {}
    for own, part in places.items():
        path = _linen_path(part)
        for full in weights:
            rest = full.partition(".")[2]
            if not path or rest.startswith(path + "."):
                name = own + (rest[len(path) + 1 :] if path else rest)
                found[name] = full
    return found


# --- Training -------------------------------------------------------------------------


def step(opened, x, y):
    """One step of the model's own optimizer: its loss and the gradients by path."""
    model = opened.model
    x, y = _input(model, x), _input(model, y)
    _ready(model, True)
    with _watched(model, None, True):
        if model.kind == "nnx":
            return _nnx_step(opened, x, y)
        return _pure_step(opened, x, y)


def _nnx_step(opened, x, y):
    module, optimizer = opened.model.thing, opened.optimizer
    flags = _flags(type(module).__call__, True, 2)

    def loss_of(module):
        return opened.loss(module(x, **flags), y)

    wrt = nnx.DiffState(0, getattr(optimizer, "wrt", nnx.Param))
    loss, gradients = nnx.value_and_grad(loss_of, argnums=wrt)(module)
    found = {
        ".".join(map(str, path)): np.array(_get(x) if hasattr(x, "value") else x)
        for path, x in nnx.to_flat_state(gradients)
    }
    if len(inspect.signature(nnx.Optimizer.update).parameters) > 3:
        optimizer.update(module, gradients)
    else:
        # Before Flax 0.11 an optimizer knew its model.
        optimizer.update(gradients)
    return float(loss), found


def _pure_step(opened, x, y):
    model, optimizer = opened.model, opened.optimizer
    names = _trained(model)
    moved = {path: model.weights[path] for path in names}
    fixed = {p: a for p, a in model.weights.items() if p not in moved}

    def loss_of(moved):
        result, after = _apply(model, dict(fixed, **moved), [x], True)
        return opened.loss(result, y), after

    (loss, after), gradients = jax.value_and_grad(loss_of, has_aux=True)(moved)
    if model.state is None:
        model.state = optimizer.init(_tree(model, moved))
    updates, model.state = optimizer.update(
        _tree(model, gradients), model.state, _tree(model, moved)
    )
    updates = _paths_of(model, updates)
    model.weights.update({path: after[path] for path in fixed})
    model.weights.update({path: moved[path] + updates[path] for path in names})
    return float(loss), {path: np.array(x) for path, x in gradients.items()}


def _tree(model, arrays):
    """Weights in the form that the model's author gave to the optimizer."""
    return _nested(arrays)["params"] if model.kind == "linen" else dict(arrays)


def _paths_of(model, tree):
    return _flat({"params": tree}) if model.kind == "linen" else tree


def describe(optimizer):
    """What can be had of an optimizer: optax keeps its settings in closures."""
    transformation = getattr(optimizer, "tx", optimizer)
    parts = _parts(transformation, set())
    attributes = {}  # type: ignore[var-annotated]
    for part in parts:
        attributes.update(part["attributes"])
    kind = recorder.full_name(type(optimizer))
    return {"kind": kind, "attributes": attributes, "parts": parts}


def _parts(item, seen):
    """The transformations that one calls, by the functions that made them, in order."""
    if id(item) in seen:
        return []
    seen.add(id(item))
    if hasattr(item, "init") and hasattr(item, "update"):
        # What the memory starts from is known to ``init`` alone.
        starts = _settings(item.init)
        parts = _parts(item.update, seen)
        if len(parts) == 1:
            parts[0]["attributes"] = dict(starts, **parts[0]["attributes"])
        return parts
    if isinstance(item, (list, tuple)):
        return [part for inner in item for part in _parts(inner, seen)]
    if not inspect.isfunction(item) or item.__name__.startswith("init"):
        return []
    maker = item.__qualname__.partition(".<locals>")[0]
    found = [part for inner in _closure(item).values() for part in _parts(inner, seen)]
    if maker in ("chain", "with_extra_args_support"):
        return found
    return [{"kind": "optax." + maker, "attributes": _settings(item)}, *found]


def _settings(function):
    closure = _closure(function).items() if inspect.isfunction(function) else ()
    return {
        name: item
        for name, item in closure
        if recorder.simple(item) and not isinstance(item, (list, tuple))
    }


def _closure(function):
    """What a function remembers, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        with contextlib.suppress(ValueError):  # A cell that is not filled.
            found[name] = cell.cell_contents
    return found
