"""Watches Keras 3 models on TensorFlow, JAX or PyTorch.

The model is called once on tensors that look symbolic to Keras and carry their values:
layers and functions of Keras then pass through two methods, where they are run on the
values and noted. What is not of Keras gets the plain tensors.
"""

# mypy: no-check-untyped-defs

import contextlib
import inspect
import re

import keras
import numpy as np
from keras.src import backend, tree
from keras.src.backend.common import dtypes
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.layers import layer as layer_module
from keras.src.ops import operation as operation_module

from . import precision, recorder

NAME = "keras"
Layer, Operation = layer_module.Layer, operation_module.Operation
#: What drops or disturbs values in training.
_DROPS = tuple(
    getattr(keras.layers, name)
    for name in (
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
    )
    if hasattr(keras.layers, name)
)
#: Keras would compute in float32 where this says so, even in float64.
_NARROW = dict(dtypes.BIT64_TO_BIT32_DTYPE)
#: How a layer is given full precision.
_CHANGE = "keras.config.set_dtype_policy('float32'), or dtype= of the layer"
#: Weights that were set before the model was built, by its id.
_PENDING = {}  # type: ignore[var-annotated]


def version():
    """Of Keras and its engine."""
    return "%s on %s" % (keras.__version__, keras.config.backend())


def prepare(dtype, seed):
    """Before the model is made."""
    if keras.config.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", dtype == "float64")
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    if keras.config.backend() != "tensorflow":
        wide = "float64" if dtype == "float64" else _NARROW.get("float64", "float32")
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = wide
    keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def making():
    """While the model is made: layers and operations remember the line of theirs."""
    original = Operation.__init__

    def remembering(self, *args, **kwargs):
        original(self, *args, **kwargs)
        object.__setattr__(self, "_netglot_made", recorder.where())

    with recorder.patched(Operation, "__init__", remembering), _used_once():
        yield


def _used_once():
    """While operations are run one by one: JAX compiles each."""
    if keras.config.backend() != "jax":
        return contextlib.nullcontext()
    from . import jaxpr

    return jaxpr.hardly_optimised()


def adopt(model, optimizer, loss, dtype):
    """The model; optimizer and loss are those of ``compile`` where none came along."""
    if optimizer is None:
        optimizer = getattr(model, "optimizer", None)
    else:
        optimizer = keras.optimizers.get(optimizer)
    if loss is not None:
        return model, optimizer, _loss(model, keras.losses.get(loss))
    if getattr(model, "compiled", False) and model._compile_loss is not None:
        loss = _compiled_loss(model)
    return model, optimizer, loss


def shortened(model):
    """Layers whose policy computes in a shorter type, and what they would be set to.

    That in which their weights are; where these are short too, they stay as they are.
    """
    return [
        (layer, "dtype_policy", keras.dtype_policies.get(layer.variable_dtype))
        for layer in (model, *model._flatten_layers(include_self=False))
        if precision.type_of(layer.compute_dtype)
        and not precision.type_of(layer.variable_dtype)
    ]


def get_weights(model):
    """All weights by path, trained or not; no states of random numbers."""
    return {
        path: np.array(recorder.plain(keras.ops.convert_to_numpy(variable)))
        for path, variable in _named(model).items()
    }


def set_weights(model, arrays):
    """Sets what ``get_weights`` gave; arrays of other paths are an error."""
    named = _named(model)
    if not model.built and not set(arrays) <= set(named):
        _PENDING[id(model)] = dict(arrays)
        return
    for path, array in arrays.items():
        named[path].assign(array)


def record(model, arrays, notes, training):
    """Runs the model on NumPy arrays, noting every call."""
    inputs = [_tensor(array) for array in arrays]
    jax = keras.config.backend() == "jax"
    if id(model) in _PENDING or (training and jax and not model.built):
        with _quiet():
            model(*_arranged(model, inputs), training=False)
        set_weights(model, _PENDING.pop(id(model), {}))
    gradients = {}
    with contextlib.ExitStack() as stack:
        if training:
            stack.enter_context(_nothing_dropped(model))
        if training and jax:
            # A second run: in it values are not to be had.
            found = _jax_gradients(
                model,
                lambda: _sine(model(*_arranged(model, inputs), training=True)),
                keep=True,
            )
            gradients = found[1]
        tape = None
        if training and keras.config.backend() == "tensorflow":
            import tensorflow

            tape = stack.enter_context(tensorflow.GradientTape())
        elif not training:
            stack.enter_context(_quiet())
        watch = _Watch(model, notes)
        seen = [watch.seen(x) for x in inputs]
        names = [x._netglot for x in seen]
        with watch.watching(), _used_once():
            result = model(*_arranged(model, seen), training=training)
        outputs = [watch.seen(x) for x in tree.flatten(result) if _is_value(x)]
        if training and not jax:
            gradients = _gradients(model, _sine([x._value for x in outputs]), tape)[0]
    if training:
        np.savez(notes.folder + "/gradients.npz", **gradients)
    notes.finish(names, [x._netglot for x in outputs], get_weights(model))


def step(opened, x, y):
    """One step of the model's own optimizer: its loss and the gradients by path."""
    model, optimizer = opened.model, opened.optimizer
    inputs, target = _arranged(model, [_tensor(x)]), _tensor(y)
    engine = keras.config.backend()
    with _nothing_dropped(model):
        if not model.built or id(model) in _PENDING:
            model(*inputs, training=False)
            set_weights(model, _PENDING.pop(id(model), {}))
        if engine == "jax":
            # What a loss makes when it is first used cannot be made while jax looks.
            with contextlib.suppress(AttributeError):
                if not model._compile_loss.built:
                    opened.loss(target, model(*inputs, training=False))
            loss, gradients, found = _jax_gradients(
                model, lambda: opened.loss(target, model(*inputs, training=True))
            )
        elif engine == "tensorflow":
            import tensorflow

            with tensorflow.GradientTape() as tape:
                loss = opened.loss(target, model(*inputs, training=True))
            gradients, found = _gradients(model, loss, tape)
        else:
            loss = opened.loss(target, model(*inputs, training=True))
            gradients, found = _gradients(model, loss, None)
        with _quiet():
            optimizer.apply(found, list(model.trainable_variables))
    return float(keras.ops.convert_to_numpy(loss)), gradients


def describe(optimizer):
    """Class and settings of an optimizer."""
    config = optimizer.get_config()
    settings = {k: _plain(v) for k, v in config.items()}
    settings["learning_rate"] = float(
        keras.ops.convert_to_numpy(optimizer.learning_rate)
    )
    return {
        "kind": "keras.optimizers." + type(optimizer).__name__,
        "attributes": {k: v for k, v in settings.items() if recorder.simple(v)},
    }


# --- Weights, inputs, gradients -------------------------------------------------------


def _named(model):
    """Variables by path; a path that two have gets a number."""
    result = {}
    for variable in model.weights:
        path, count = variable.path, 1
        while path in result:
            count += 1
            path = "%s#%d" % (variable.path, count)
        result[path] = variable
    return result


def _tensor(array):
    """An array on the engine, in the precision of the model."""
    floating = np.issubdtype(np.asarray(array).dtype, np.floating)
    dtype = keras.config.floatx() if floating else None
    return keras.ops.convert_to_tensor(np.array(array), dtype=dtype)


def _arranged(model, inputs):
    """Inputs as the model takes them: one by one, or in the structure of its own."""
    if len(inputs) == 1:
        return list(inputs)
    struct = getattr(model, "_inputs_struct", None)
    if struct is not None:
        return [tree.pack_sequence_as(struct, inputs)]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        p
        for p in inspect.signature(model.call).parameters.values()
        if (p.kind in kinds and p.default is p.empty)
        or p.kind is inspect.Parameter.VAR_POSITIONAL
    ]
    return list(inputs) if len(needed) > 1 else [list(inputs)]


def _sine(result):
    """The same function of the outputs, whatever the order of their axes."""
    return sum(
        keras.ops.sum(keras.ops.sin(y) + y * y / 2)
        for y in tree.flatten(result)
        if _is_value(y)
    )


def _compiled_loss(model):
    """The loss that the model was compiled with, penalties of weights included."""
    return lambda target, result: model.compute_loss(y=target, y_pred=result)


def _loss(model, loss):
    """A loss that came with the model, and the penalties of its weights."""

    def value(target, result):
        total = keras.ops.mean(loss(target, result))
        return total + sum(model.losses) if model.losses else total

    return value


def _by_path(model, gradients):
    """Arrays of the gradients, by the paths of the variables."""
    paths = {id(variable): path for path, variable in _named(model).items()}
    return {
        paths[id(variable)]: np.array(
            keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(gradient))
        )
        for variable, gradient in zip(model.trainable_variables, gradients)
        if gradient is not None
    }


def _gradients(model, loss, tape):
    """Of a loss that is there: arrays by path, and the engine's own, in order."""
    values = [variable.value for variable in model.trainable_variables]
    if tape is not None:
        found = tape.gradient(loss, values)
        return _by_path(model, found), found
    model.zero_grad()
    loss.backward()
    found = [None if v.grad is None else v.grad.clone() for v in values]
    model.zero_grad()
    return _by_path(model, found), found


def _jax_gradients(model, function, keep=False):
    """Loss, arrays by path, and gradients in order; ``keep``: the state stays."""
    import jax

    trained = list(model.trainable_variables)
    others = list(model.non_trainable_variables)

    def objective(values):
        pairs = list(zip(trained, values)) + [(v, v.value) for v in others]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            loss = function()
        return loss, [scope.get_current_value(v) for v in others]

    taken = jax.value_and_grad(objective, has_aux=True)
    (loss, updates), found = taken([v.value for v in trained])
    if not keep:
        for variable, update in zip(others, updates):
            variable.assign(update)
    return loss, _by_path(model, found), found


@contextlib.contextmanager
def _quiet():
    """No gradients are wanted."""
    if keras.config.backend() == "torch":
        import torch

        with torch.no_grad():
            yield
    else:
        yield


@contextlib.contextmanager
def _nothing_dropped(model):
    """Layers behave as in training, but that every value stays."""

    def same(self, inputs, training=False):
        return inputs

    def undropped(inputs, *args, **kwargs):
        return inputs

    before = []
    with contextlib.ExitStack() as stack:
        for kind in _DROPS:
            stack.enter_context(recorder.patched(kind, "call", same))
        stack.enter_context(recorder.patched(backend.random, "dropout", undropped))
        for layer in model._flatten_layers():
            for name in ("dropout", "recurrent_dropout"):
                # The cells of recurrent layers drop on their own.
                if isinstance(vars(layer).get(name), float):
                    before.append((layer, name, getattr(layer, name)))
                    setattr(layer, name, 0.0)
        try:
            yield
        finally:
            for layer, name, value in before:
                setattr(layer, name, value)


# --- Looking --------------------------------------------------------------------------


def _is_value(item):
    return isinstance(item, _Seen) or backend.is_tensor(item)


class _Seen(keras.KerasTensor):
    """A tensor that Keras takes for symbolic, with its value and its name."""

    def __init__(self, watch, value, name):
        super().__init__(value.shape, backend.standardize_dtype(value.dtype), name=name)
        self._watch, self._value, self._netglot = watch, value, name

    def __getattr__(self, name):
        # Only what a symbolic tensor does not have: methods of the engine's tensors.
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._value, name)
        if not callable(found):
            return found
        kind = "%s.Tensor.%s" % (keras.config.backend(), name)

        def method(*args, **kwargs):
            return self._watch.foreign(kind, found, (self, *args), kwargs, 1)

        return method

    def __bool__(self):
        return bool(self._value)

    def __int__(self):
        return int(self._value)

    def __float__(self):
        return float(self._value)

    def __iter__(self):
        return (self[index] for index in range(self.shape[0]))

    def __array__(self, *args, **kwargs):
        array = np.asarray(keras.ops.convert_to_numpy(self._watch.given_away(self)))
        return array.astype(args[0]) if args and args[0] is not None else array

    def __jax_array__(self):
        return self._watch.given_away(self)

    def __tf_tensor__(self, dtype=None, name=None):
        import tensorflow

        value = self._watch.given_away(self)
        return value if dtype in (None, value.dtype) else tensorflow.cast(value, dtype)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        from torch.overrides import resolve_name

        watch = next(
            x._watch for x in tree.flatten([args, kwargs or {}]) if isinstance(x, cls)
        )
        kind = resolve_name(function) or recorder.full_name(function)
        return watch.foreign(kind, function, args, kwargs or {})


if keras.config.backend() == "jax":
    from jax import tree_util

    # A function that jax compiles takes it for its value.
    tree_util.register_pytree_node(
        _Seen, lambda x: ((x._watch.given_away(x),), None), lambda _, parts: parts[0]
    )


class _Watch:
    """Notes layers and operations of Keras; enters what is made of others."""

    def __init__(self, model, notes):
        self.model, self.notes = model, notes
        #: Inside of a layer, or while something is built: nothing is noted.
        self.inside = 0
        self.where = [""]
        #: Values that something outside of Keras has read.
        self.given = []

    # Values

    def seen(self, value):
        """A tensor with its name; one from nowhere gets a call of its own."""
        if isinstance(value, _Seen):
            return value
        result = self.keep(value)
        if self.given:
            names = list(dict.fromkeys(x._netglot for x in self.given))
            given = [[{"value": name} for name in names], {}]
            self.notes.call("unseen", self.where[-1], given, [result._netglot])
            self.given = []
            self.note("a function that is not of Keras was not seen")
        return result

    def keep(self, value):
        """A tensor under a new name."""
        name = self.notes.value(keras.ops.convert_to_numpy(value))
        return _Seen(self, value, name)

    def given_away(self, seen):
        """The value of a tensor, for something outside of Keras."""
        if not self.inside:
            self.given.append(seen)
        return seen._value

    def note(self, text):
        """Said once."""
        if text not in self.notes.notes:
            self.notes.notes.append(text)

    def bare(self, item):
        """Arguments with plain tensors, masks along with them."""

        def value(x):
            if not isinstance(x, _Seen):
                return x
            mask = get_keras_mask(x)
            if mask is not None:
                set_keras_mask(x._value, self.bare(mask))
            return x._value

        return tree.map_structure(value, item)

    def dressed(self, result):
        """Results of a call under new names."""
        return tree.map_structure(
            lambda x: self.keep(x) if backend.is_tensor(x) else x, result
        )

    def names(self, result):
        """Names of the values in a result."""
        return [x._netglot for x in tree.flatten(result) if isinstance(x, _Seen)]

    def encoded(self, item):
        """Arguments as JSON."""
        return recorder.encode(item, self.name_of)

    def name_of(self, item):
        """A tensor or variable as an argument."""
        if isinstance(item, _Seen):
            return {"value": item._netglot}
        if isinstance(item, keras.Variable):
            path = self.paths().get(id(item))
            return {"weight": path} if path else {"other": "a variable"}
        if backend.is_tensor(item) or isinstance(item, np.ndarray):
            return {"value": self.notes.value(keras.ops.convert_to_numpy(item))}
        return None

    def paths(self):
        """Paths of all variables; some are made while the model runs."""
        return {id(v): path for path, v in _named(self.model).items()}

    # Calls

    @contextlib.contextmanager
    def noting_nothing(self):
        """Inside of something that is noted as a whole."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @contextlib.contextmanager
    def watching(self):
        """Layers and operations of Keras come here as long as this lasts."""
        call, build = Layer.__call__, Layer._maybe_build
        of_layer, of_operation = Layer.symbolic_call, Operation.symbolic_call
        node, dropout = operation_module.Node, backend.random.dropout

        def called(layer, *args, **kwargs):
            if not self.inside:
                # A layer that follows a function of the engine.
                args, kwargs = tree.map_structure(
                    lambda x: self.seen(x) if backend.is_tensor(x) else x,
                    (args, kwargs),
                )
            return call(layer, *args, **kwargs)

        def building(layer, *args, **kwargs):
            with self.noting_nothing():
                return build(layer, *args, **kwargs)

        def layer_called(layer, *args, **kwargs):
            if self.inside:
                return of_layer(layer, *args, **kwargs)
            return self.layer(layer, args, kwargs)

        def operation_called(operation, *args, **kwargs):
            if self.inside:
                return of_operation(operation, *args, **kwargs)
            return self.operation(operation, args, kwargs)

        def dropped(inputs, *args, **kwargs):
            # A function of Keras that is no operation of it.
            if self.inside or not isinstance(inputs, _Seen):
                return dropout(inputs, *args, **kwargs)
            given = (inputs, *args)
            return self.foreign("keras.random.dropout", dropout, given, kwargs)

        def made(*args, **kwargs):
            # A graph of what is seen would hold all values, and stay with the layers.
            return node(*args, **kwargs) if self.inside else None

        with contextlib.ExitStack() as stack:
            for owner, name, value in (
                (Layer, "__call__", called),
                (Layer, "_maybe_build", building),
                (Layer, "symbolic_call", layer_called),
                (Operation, "symbolic_call", operation_called),
                (operation_module, "Node", made),
                (layer_module, "Node", made),
                (backend.random, "dropout", dropped),
            ):
                stack.enter_context(recorder.patched(owner, name, value))
            yield

    def foreign(self, kind, function, args, kwargs, skip=0):
        """A function of the engine on values that are seen; ``skip``: bound already."""
        bare, more = self.bare(args), self.bare(kwargs)
        with self.noting_nothing():
            result = function(*bare[skip:], **more)
        if self.inside:
            return result
        given = [self.encoded(list(args)), self.encoded(kwargs)["map"]]
        result = self.dressed(result)
        names = self.names(result)
        if names:
            self.notes.call(kind, self.where[-1], given, names, source=recorder.where())
        return result

    def operation(self, operation, args, kwargs):
        """One of ``keras.ops``, with its settings as arguments by name."""
        settings = {
            name: value
            for name, value in vars(operation).items()
            if not name.startswith("_") and name != "name" and recorder.simple(value)
        }
        kind = type(operation).__name__
        given = [self.encoded(list(args)), self.encoded({**settings, **kwargs})["map"]]
        bare, more = self.bare(args), self.bare(kwargs)
        with self.noting_nothing():
            result = operation.call(*bare, **more)
        if kind in ("ConvertToTensor", "Cast") and _unchanged(result, args[0]):
            return args[0]
        result = self.dressed(result)
        self.notes.call(
            "keras.ops." + _snake(kind),
            self.where[-1],
            given,
            self.names(result),
            source=recorder.where() or getattr(operation, "_netglot_made", ""),
        )
        return result

    def layer(self, layer, args, kwargs):
        """A layer of Keras as a whole; of any other, what it is made of."""
        kind = _whole(layer)
        if kind is None:
            return self.entered(layer, args, kwargs)
        if not args and kwargs:
            # The first argument was given by name.
            first = next(iter(inspect.signature(layer.call).parameters))
            if first in kwargs:
                kwargs = dict(kwargs)
                args = (kwargs.pop(first),)
        training = bool(kwargs.get("training"))
        given = [self.encoded(list(args)), self.encoded(kwargs)["map"]]
        bare, more = self.bare(args), self.bare(kwargs)
        with self.noting_nothing():
            result = layer.call(*bare, **more)
        result = self.dressed(result)
        path, prefix = layer.path or layer.name, (layer.path or layer.name) + "/"
        paths, weights = self.paths(), {}
        for variable in layer.weights:
            own = variable.path
            own = own[len(prefix) :] if own.startswith(prefix) else own
            weights[own] = paths.get(id(variable), variable.path)
        top = (self.model.path or self.model.name) + "/"
        made = getattr(layer, "_netglot_made", "")
        short = path[len(top) :] if path.startswith(top) else path
        if precision.type_of(layer.compute_dtype):
            policy = layer.dtype_policy.name
            self.notes.short("dtype policy", policy, _CHANGE, short, single=False)
        self.notes.call(
            "keras.layers." + kind.__name__,
            short,
            given,
            self.names(result),
            attributes=_settings(layer),
            weights=weights,
            training=training and layer.trainable,
            source=recorder.where() or made,
            made=made,
        )
        return result

    def entered(self, layer, args, kwargs):
        """What a model or a layer of the user's calls; as a whole where that fails."""
        path = layer.path or layer.name
        top = self.model.path or self.model.name
        if layer is self.model:
            path = ""
        elif path.startswith(top + "/"):
            path = path[len(top) + 1 :]
        calls = list(self.notes.calls)
        state = [
            (v, np.array(keras.ops.convert_to_numpy(v)))
            for v in layer.non_trainable_variables
        ]
        self.where.append(path)
        try:
            return layer.call(*args, **kwargs)
        except Exception as error:
            # Its code may need plain tensors. If it fails on these as well, it is the
            # model that is wrong: that is its own error, and how far it came is known.
            for variable, value in state:
                variable.assign(value)
            bare, more = self.bare(args), self.bare(kwargs)
            with self.noting_nothing():
                result = layer.call(*bare, **more)
            self.notes.calls[:] = calls
            self.note("%s was run as one: %s" % (path or "the model", str(error)[:200]))
            given = [self.encoded(list(args)), self.encoded(kwargs)["map"]]
            result = self.dressed(result)
            self.notes.call(
                recorder.full_name(type(layer)), path, given, self.names(result)
            )
            return result
        finally:
            self.where.pop()


def _unchanged(result, seen):
    """Whether a conversion has left its tensor as it was."""
    same = backend.standardize_dtype(result.dtype) == seen.dtype
    return same and isinstance(seen, _Seen)


def _snake(name):
    """``LogSoftmax`` as ``log_softmax``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _whole(layer):
    """The class of Keras that says what a layer does; None where it is to be entered.

    A class of the user's that only sets the arguments of one of Keras's is that one.
    """
    if isinstance(layer, (keras.Model, keras.layers.Lambda)):
        return None
    of_keras = None
    for kind in type(layer).__mro__:
        own = kind.__module__.split(".")[0] == "keras"
        if own and of_keras is None:
            of_keras = kind
        if "call" in vars(kind):
            return of_keras if own and kind is not Layer else None
    return None


def _settings(layer):
    """The configuration of a layer, as far as JSON can say it."""
    try:
        config = layer.get_config()
    except NotImplementedError:
        config = {k: v for k, v in vars(layer).items() if not k.startswith("_")}
    result = {name: _plain(value) for name, value in config.items()}
    result.pop("dtype", None)
    return {k: v for k, v in result.items() if _sayable(v)}


def _plain(value):
    """A setting; a layer inside as its class and settings."""
    if isinstance(value, dict) and "class_name" in value:
        config = value.get("config")
        if not isinstance(config, dict):
            return {"kind": value["class_name"], "name": config}
        inner = {k: _plain(v) for k, v in config.items()}
        inner = {k: v for k, v in inner.items() if _sayable(v)}
        return {"kind": value["class_name"], "settings": inner}
    if isinstance(value, np.generic):
        return value.item()
    return value


def _sayable(value):
    return recorder.simple(value) or (isinstance(value, dict) and "kind" in value)
