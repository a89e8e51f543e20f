"""Recurrent layer as one operation.

Is an LSTM over a whole sequence one operation of the framework, and not a loop over the
steps? Its operations are counted for five steps and for ten; its states are compared
with the formula below.
"""

import numpy as np

STEPS, BATCH, INPUTS, UNITS = 5, 2, 3, 4
_random = np.random.RandomState(8)


def _some(*shape):
    return (_random.randint(-48, 49, shape) / 64.0).astype("float32")


#: Time first; gates: input, forget, candidate, output.
X = _some(STEPS, BATCH, INPUTS)
W, U, B = _some(INPUTS, 4 * UNITS), _some(UNITS, 4 * UNITS), _some(4 * UNITS)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _states():
    h = c = np.zeros((BATCH, UNITS))
    found = []
    for x in X.astype("float64"):
        i, f, g, o = np.split(x @ W + h @ U + B, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.stack(found)


def one(names):
    """the same operations for five steps and for ten, one of them an LSTM, no loop"""
    short, long = [sorted(str(name) for name in found) for found in names]
    layers = [
        name
        for name in short
        if ("lstm" in name.lower() or "rnn" in name.lower()) and "param" not in name
    ]
    loops = [n for n in short if "while" in n.lower() or "scan" in n.lower()]
    return short == long and len(layers) == 1 and not loops


CHECKS = {"one operation": one, "its states": _states()}


def numpy(check):
    check.nothing("autograd has no layers", "autograd.numpy.lstm")


def pytorch(check):
    import torch

    layer = torch.nn.LSTM(INPUTS, UNITS)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(W.T))
        layer.weight_hh_l0.copy_(torch.from_numpy(U.T))
        layer.bias_ih_l0.copy_(torch.from_numpy(B))
        layer.bias_hh_l0.zero_()

    def operations(steps):
        graph = torch.jit.trace(layer, torch.ones(steps, BATCH, INPUTS)).inlined_graph
        kinds = [node.kind() for node in graph.nodes()]
        return [
            kind for kind in kinds if kind not in ("prim::Constant", "prim::GetAttr")
        ]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(lambda: layer(torch.from_numpy(X))[0].detach().numpy())


def jax(check):
    import jax
    from jax.experimental import rnn

    # That of cuDNN; there is none for processors, but for its reference, a scan.
    def states():
        try:
            length = np.full(BATCH, STEPS, "int32")
            weights = rnn.init_lstm_weight(jax.random.key(0), INPUTS, UNITS, 1, False)
            zeros = np.zeros((1, BATCH, UNITS), "float32")
            rnn.lstm(
                X.transpose(1, 0, 2),
                zeros,
                zeros,
                weights,
                length,
                INPUTS,
                UNITS,
                1,
                0.0,
                False,
            )
        except (AttributeError, NotImplementedError) as error:
            check.not_here("a GPU, for jax.experimental.rnn.lstm: %s" % str(error)[:80])
        raise AssertionError("rnn.lstm runs here: the probe is out of date")

    check("one operation")(states)
    check("its states")(states)


def tensorflow(check):
    import tensorflow as tf

    @tf.function
    def states(x):
        zeros, none = tf.zeros((BATCH, UNITS)), tf.zeros(UNITS)
        return tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.cast(tf.shape(x)[0], tf.int64),
            x=x,
            cs_prev=zeros,
            h_prev=zeros,
            w=tf.concat([W, U], 0),
            wci=none,
            wcf=none,
            wco=none,
            b=tf.constant(B),
            cell_clip=0.0,
            use_peephole=False,
        ).h

    def operations(steps):
        graph = states.get_concrete_function(
            tf.TensorSpec((steps, BATCH, INPUTS))
        ).graph
        kinds = [op.type for op in graph.get_operations()]
        return [
            kind for kind in kinds if kind not in ("Const", "Placeholder", "Identity")
        ]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(lambda: states(tf.constant(X)).numpy())


# What the layer becomes is the engine's: a loop of TensorFlow or JAX, the operation of
# PyTorch; on a GPU that of cuDNN.
def _keras_layer():
    import keras

    model = keras.Sequential(
        [keras.Input((None, INPUTS)), keras.layers.LSTM(UNITS, return_sequences=True)]
    )
    model.set_weights([W, U, B])
    return model, lambda: model.predict(X.transpose(1, 0, 2), verbose=0).transpose(
        1, 0, 2
    )


def keras_tensorflow(check):
    import tensorflow as tf

    model, states = _keras_layer()

    def operations(steps):
        call = tf.function(lambda x: model(x))
        graph = call.get_concrete_function(tf.TensorSpec((BATCH, steps, INPUTS))).graph
        return [op.type for op in graph.get_operations() if op.type != "Const"]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(states)


def keras_jax(check):
    import jax

    model, states = _keras_layer()

    def operations(steps):
        program = jax.make_jaxpr(lambda x: model(x))(np.zeros((BATCH, steps, INPUTS)))
        return [equation.primitive.name for equation in program.jaxpr.eqns]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(states)


def keras_torch(check):
    import torch

    model, states = _keras_layer()

    def operations(steps):
        with torch.profiler.profile() as profile:
            model(torch.ones(BATCH, steps, INPUTS))
        return [
            event.name
            for event in profile.events()
            if event.cpu_parent is None or event.name == "aten::lstm"
        ]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(states)


def paddle(check):
    import paddle

    layer = paddle.nn.LSTM(INPUTS, UNITS, time_major=True)
    layer.weight_ih_l0.set_value(W.T)
    layer.weight_hh_l0.set_value(U.T)
    layer.bias_ih_l0.set_value(B)
    layer.bias_hh_l0.set_value(0 * B)

    def operations(steps):
        spec = paddle.static.InputSpec([steps, BATCH, INPUTS])

        @paddle.jit.to_static(input_spec=[spec], full_graph=True)
        def call(x):
            return layer(x)[0]

        program = call.concrete_program.main_program
        return [op.name() for op in program.global_block().ops]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(lambda: layer(paddle.to_tensor(X))[0].numpy())


def mxnet(check):
    import json

    import mxnet as mx
    from mxnet import gluon, nd

    layer = gluon.rnn.LSTM(UNITS, input_size=INPUTS)
    layer.initialize()
    layer.l0_i2h_weight.set_data(nd.array(W.T))
    layer.l0_h2h_weight.set_data(nd.array(U.T))
    layer.l0_i2h_bias.set_data(nd.array(B))
    layer.l0_h2h_bias.set_data(nd.zeros(4 * UNITS))

    def operations(steps):
        zeros = [mx.sym.zeros((1, BATCH, UNITS)) for _ in range(2)]
        graph, _ = layer(mx.sym.Variable("x", shape=(steps, BATCH, INPUTS)), zeros)
        nodes = json.loads(graph.tojson())["nodes"]
        return [node["op"] for node in nodes if node["op"] != "null"]

    check("one operation")(lambda: [operations(5), operations(10)])
    check("its states")(lambda: layer(nd.array(X)).asnumpy())


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    @check("one operation")
    def one_operation():
        check.lacks("mlx.core.fast.lstm", "nn.LSTM is a loop of Python over the steps")

    @check("its states")
    def states():
        check.fallback("by a loop of Python")
        layer = nn.LSTM(INPUTS, UNITS)
        layer.Wx, layer.Wh, layer.bias = map(mx.array, (W.T, U.T, B))
        return np.array(layer(mx.array(X.transpose(1, 0, 2)))[0]).transpose(1, 0, 2)


def chainer(check):
    from chainer import functions, links

    layer = links.NStepLSTM(1, INPUTS, UNITS, 0)
    for gate in range(4):
        rows = slice(gate * UNITS, (gate + 1) * UNITS)
        getattr(layer[0], "w%d" % gate).array[...] = W[:, rows].T
        getattr(layer[0], "w%d" % (gate + 4)).array[...] = U[:, rows].T
        getattr(layer[0], "b%d" % gate).array[...] = B[rows]
        getattr(layer[0], "b%d" % (gate + 4)).array[...] = 0

    def states(x):
        return functions.stack(
            layer(None, None, list(x.transpose(1, 0, 2)))[-1], axis=1
        )

    # On a GPU it is one operation of cuDNN, here it is a function per step and gate.
    def operations(steps):
        seen, found = [states(np.ones((steps, BATCH, INPUTS), "float32"))], []
        while seen:
            creator = seen.pop().creator_node
            if creator is not None:
                found.append(creator.label)
                seen.extend(node.get_variable() for node in creator.inputs)
        return found

    check("one operation")(lambda: [operations(2), operations(3)])
    check("its states")(lambda: states(X).array)


def tinygrad(check):
    check.nothing("tinygrad has a cell, and loops over the steps", "tinygrad.nn.LSTM")


def cntk(check):
    import cntk as C
    from cntk.logging.graph import depth_first_search

    x = C.sequence.input_variable(INPUTS)
    weights = C.parameter((C.InferredDimension, UNITS))
    layer = C.optimized_rnnstack(x, weights, UNITS, 1, recurrent_op="lstm")

    @check("one operation")
    def operations():
        functions = depth_first_search(
            layer, lambda f: hasattr(f, "op_name") and f.is_primitive
        )
        names = [f.op_name for f in functions]
        # The steps are an axis that the graph does not know.
        return [names, names]

    # "RNNForward: Feature Not Implemented"
    @check("its states")
    def states():
        if all(d.type() != C.DeviceKind.GPU for d in C.device.all_devices()):
            check.not_here("a GPU: the operation is cuDNN's")
        given = np.concatenate([W.T.ravel(), U.T.ravel(), B, 0 * B])
        weights.value = given.reshape(-1, UNITS)
        return np.stack(layer.eval({x: list(X.transpose(1, 0, 2))}), 1)
