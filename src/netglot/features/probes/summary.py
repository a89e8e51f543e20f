"""Summary of the graph, FLOP count.

A network of two layers: does the framework write a table of its layers with the number
of its parameters, and count the operations of a pass forward?
"""

#: 8 inputs, 16 units, 4 outputs: weights and biases.
PARAMETERS = 8 * 16 + 16 + 16 * 4 + 4
#: A multiplication and an addition per weight, for ten observations.
FLOPS = 10 * 2 * (8 * 16 + 16 * 4)


def has_a_table(text):
    """a text that names both layers and the number of parameters, 212"""
    text = str(text)
    return "hidden" in text and "output" in text and str(PARAMETERS) in text


def counted(number):
    """3840, or up to a third more where biases and activations are counted"""
    return FLOPS <= number <= 1.34 * FLOPS


CHECKS = {"a table of the layers": has_a_table, "FLOPs of a pass": counted}


def numpy(check):
    check.nothing("autograd has no graph to look at", "autograd.summary")


def pytorch(check):
    from collections import OrderedDict

    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    model = nn.Sequential(
        OrderedDict(hidden=nn.Linear(8, 16), relu=nn.ReLU(), output=nn.Linear(16, 4))
    )

    @check("a table of the layers")
    def table():
        check.note(
            "print(model) names the layers and counts nothing; torchinfo is apart"
        )
        return model

    @check("FLOPs of a pass")
    def flops():
        with FlopCounterMode(display=False) as counter:
            model(torch.ones(10, 8))
        return counter.get_total_flops()


def jax(check):
    import jax
    import jax.numpy as jnp

    w, b = jnp.ones((8, 16)), jnp.ones(16)
    v, c = jnp.ones((16, 4)), jnp.ones(4)

    @check("a table of the layers")
    def table():
        check.lacks("jax.summary", "JAX has no layers; make_jaxpr shows the operations")

    @check("FLOPs of a pass")
    def flops():
        network = jax.jit(lambda x: jax.nn.relu(x @ w + b) @ v + c)
        return network.lower(jnp.ones((10, 8))).compile().cost_analysis()["flops"]


def flax(check):
    import jax
    import jax.numpy as jnp
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(8, 16, rngs=rngs)
            self.output = nnx.Linear(16, 4, rngs=rngs)

        def __call__(self, x):
            return self.output(nnx.relu(self.hidden(x)))

    model, x = Network(nnx.Rngs(0)), jnp.ones((10, 8))

    @check("a table of the layers")
    def table():
        text = nnx.tabulate(model, x, console_kwargs={"width": 200})
        check.note(text[:200])
        start = text.find("Total")
        return (
            "hidden output " + text[start:]
            if "hidden" in text and "output" in text
            else text
        )

    @check("FLOPs of a pass")
    def flops():
        graph, state = nnx.split(model)
        compiled = (
            jax.jit(lambda s, x: nnx.merge(graph, s)(x)).lower(state, x).compile()
        )
        return compiled.cost_analysis()["flops"]


def tensorflow(check):
    import tensorflow as tf

    _keras_table(check, tf.keras)

    @check("FLOPs of a pass")
    def flops():
        model = _keras_model(tf.keras)
        return _tensorflow_flops(model)


def _tensorflow_flops(model):
    """By the profiler of TensorFlow 1, which still counts."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    call = tf.function(model).get_concrete_function(tf.TensorSpec((10, 8)))
    frozen = convert_to_constants.convert_variables_to_constants_v2(call)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def _keras_model(keras):
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu", name="hidden"),
            keras.layers.Dense(4, name="output"),
        ]
    )


def _keras_table(check, keras):
    model = _keras_model(keras)

    @check("a table of the layers")
    def table():
        lines = []
        model.summary(print_fn=lambda text, line_break=False: lines.append(text))
        text = "\n".join(lines)
        check.note("Total params" + text.partition("Total params")[2][:20])
        return text


def keras_tensorflow(check):
    import keras

    _keras_table(check, keras)

    @check("FLOPs of a pass")
    def flops():
        check.fallback("by the engine: TensorFlow's profiler")
        return _tensorflow_flops(_keras_model(keras))


def keras_jax(check):
    import jax
    import keras

    _keras_table(check, keras)

    @check("FLOPs of a pass")
    def flops():
        check.fallback("by the engine: cost_analysis of what JAX compiled")
        model = _keras_model(keras)
        compiled = jax.jit(lambda x: model(x)).lower(jax.numpy.ones((10, 8))).compile()
        return compiled.cost_analysis()["flops"]


def keras_torch(check):
    import keras
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    _keras_table(check, keras)

    @check("FLOPs of a pass")
    def flops():
        check.fallback("by the engine: PyTorch's FlopCounterMode")
        with FlopCounterMode(display=False) as counter:
            _keras_model(keras)(torch.ones(10, 8))
        return counter.get_total_flops()


def paddle(check):
    import paddle

    model = paddle.nn.Sequential(
        ("hidden", paddle.nn.Linear(8, 16)),
        ("relu", paddle.nn.ReLU()),
        ("output", paddle.nn.Linear(16, 4)),
    )

    @check("a table of the layers")
    def table():
        import contextlib
        import io

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            counted = paddle.summary(model, (10, 8))
        check.note("counts %d parameters" % counted["total_params"])
        check.note("its table has the kinds of the layers and not their names")
        return printed.getvalue()

    # It counts a multiplication and its addition as one.
    @check("FLOPs of a pass", refused_by=(TypeError,))
    def flops():
        return paddle.flops(model, [10, 8])


def mxnet(check):
    from mxnet import gluon, nd

    model = gluon.nn.HybridSequential(prefix="")
    model.add(
        gluon.nn.Dense(16, "relu", in_units=8, prefix="hidden_"),
        gluon.nn.Dense(4, in_units=16, prefix="output_"),
    )
    model.initialize()

    @check("a table of the layers")
    def table():
        import contextlib
        import io

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            model.summary(nd.ones((10, 8)))
        check.note("its table has the kinds of the layers and not their names")
        return printed.getvalue()

    @check("FLOPs of a pass")
    def flops():
        check.lacks("mxnet.visualization.count_flops", "it counts parameters only")


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(8, 16)
            self.output = nn.Linear(16, 4)

    @check("a table of the layers")
    def table():
        check.note("print(model) names the layers and counts nothing")
        return Network()

    @check("FLOPs of a pass")
    def flops():
        assert mx
        check.lacks("mlx.core.flops", "MLX counts no operations")


def chainer(check):
    import chainer
    from chainer import links

    class Network(chainer.Chain):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.hidden = links.Linear(8, 16)
                self.output = links.Linear(16, 4)

    @check("a table of the layers")
    def table():
        check.note(
            "count_params() counts %d, print names the layers"
            % Network().count_params()
        )
        return Network()

    @check("FLOPs of a pass")
    def flops():
        try:
            import chainer_computational_cost  # noqa: F401
        except ImportError:
            check.not_here("the package chainer_computational_cost")
        check.no("the package is there: the probe is out of date")


def keras2(check):
    import keras

    model = keras.Sequential(
        [
            keras.layers.Dense(16, activation="relu", name="hidden", input_shape=(8,)),
            keras.layers.Dense(4, name="output"),
        ]
    )

    @check("a table of the layers")
    def table():
        lines = []
        model.summary(print_fn=lines.append)
        return "\n".join(lines)

    @check("FLOPs of a pass")
    def flops():
        check.lacks("keras.utils.get_flops", "Keras counts parameters only")


def cntk(check):
    import cntk as C

    x = C.input_variable(8)
    model = C.layers.Sequential(
        [C.layers.Dense(16, C.relu, name="hidden"), C.layers.Dense(4, name="output")]
    )(x)

    @check("a table of the layers")
    def table():
        import contextlib
        import io

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            C.logging.log_number_of_parameters(model, trace_level=1)
        check.note("shapes and their number, without names")
        return printed.getvalue()

    @check("FLOPs of a pass")
    def flops():
        names = [n for n in dir(C.logging) + dir(C.debugging) if "flop" in n.lower()]
        if not names:
            check.no("nothing in cntk.logging and cntk.debugging counts them")
        return names


def caffe2(check):
    import numpy as np
    from caffe2.python import brew, model_helper, workspace

    workspace.ResetWorkspace()
    model = model_helper.ModelHelper("model")
    workspace.FeedBlob("x", np.ones((10, 8), "float32"))
    hidden = brew.relu(model, brew.fc(model, "x", "hidden", 8, 16), "relu")
    brew.fc(model, hidden, "output", 16, 4)
    workspace.RunNetOnce(model.param_init_net)
    workspace.RunNetOnce(model.net)

    @check("a table of the layers")
    def table():
        from caffe2.python.net_printer import to_string

        check.note("net_printer writes the operators, without a count of parameters")
        return to_string(model.net)

    @check("FLOPs of a pass")
    def flops():
        check.note("workspace.GetOperatorCost, summed over the products")
        products = [op for op in model.net.Proto().op if op.type == "FC"]
        return sum(workspace.GetOperatorCost(op, list(op.input))[0] for op in products)
