"""Sequences of different lengths.

A recurrent layer over a batch of two sequences, padded with a number that would be
seen: the last state of each must be that of the sequence alone, and the padding must
get no gradient.
"""

import numpy as np

#: One input, one unit: h = tanh(W x + U h).
W, U = 0.5, -0.75
LENGTHS = [4, 2]
#: (batch, steps, 1); what lies behind a sequence is 9.
X = np.array([[1, 2, -1, 0.5], [-2, 1, 9, 9]], "float32")[:, :, None]


def _last():
    found, gradients = [], np.zeros(X.shape)
    for row, length in enumerate(LENGTHS):
        states = [0.0]
        for step in range(length):
            states.append(np.tanh(W * X[row, step, 0] + U * states[-1]))
        found.append([states[-1]])
        back = 1.0
        for step in reversed(range(length)):
            back = back * (1 - states[step + 1] ** 2)
            gradients[row, step, 0] = back * W
            back = back * U
    return np.array(found), gradients


CHECKS = {"last states": _last()[0], "gradient of the inputs": _last()[1]}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    def last(x):
        found = []
        for row, length in enumerate(LENGTHS):
            h = 0.0
            for step in range(length):
                h = anp.tanh(W * x[row, step] + U * h)
            found.append(h)
        return anp.stack(found)

    @check("last states")
    def states():
        check.fallback("no layers: a loop of Python as long as the sequence")
        return last(X)

    @check("gradient of the inputs")
    def gradient():
        check.fallback("no layers: a loop of Python as long as the sequence")
        return grad(lambda x: anp.sum(last(x)))(X)


def pytorch(check):
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    layer = torch.nn.RNN(1, 1, bias=False, batch_first=True)
    torch.nn.init.constant_(layer.weight_ih_l0, W)
    torch.nn.init.constant_(layer.weight_hh_l0, U)
    x = torch.tensor(X, requires_grad=True)
    _, last = layer(pack_padded_sequence(x, LENGTHS, batch_first=True))

    @check("last states")
    def states():
        return last[0].detach().numpy()

    @check("gradient of the inputs")
    def gradient():
        last.sum().backward()
        return x.grad.numpy()


def jax(check):
    import jax
    import jax.numpy as jnp

    # Every step is computed; behind the end the state stays.
    def last(x):
        def step(h, now):
            x, t = now
            new = jnp.tanh(W * x + U * h)
            return jnp.where(t < jnp.array(LENGTHS)[:, None], new, h), None

        times = jnp.arange(X.shape[1])
        return jax.lax.scan(step, jnp.zeros((2, 1)), (x.transpose(1, 0, 2), times))[0]

    @check("last states")
    def states():
        check.fallback("no layers: a mask in lax.scan")
        return last(X)

    @check("gradient of the inputs")
    def gradient():
        check.fallback("no layers: a mask in lax.scan")
        return jax.grad(lambda x: jnp.sum(last(x)))(X)


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    layer = nnx.RNN(nnx.SimpleCell(1, 1, rngs=nnx.Rngs(0)), return_carry=True)
    layer.cell.dense_i.kernel[...] = jnp.full((1, 1), W)
    layer.cell.dense_h.kernel[...] = jnp.full((1, 1), U)

    def last(layer, x):
        return layer(x, seq_lengths=jnp.array(LENGTHS))[0]

    @check("last states")
    def states():
        return last(layer, X)

    @check("gradient of the inputs")
    def gradient():
        total = nnx.grad(lambda layer, x: jnp.sum(last(layer, x)), argnums=1)
        return total(layer, X)


def tensorflow(check):
    import tensorflow as tf

    layer = tf.keras.layers.SimpleRNN(1, use_bias=False)
    layer.build(X.shape)
    layer.set_weights([np.array([[W]]), np.array([[U]])])
    mask = tf.sequence_mask(LENGTHS, X.shape[1])

    @check("last states")
    def states():
        return layer(X, mask=mask).numpy()

    @check("gradient of the inputs")
    def gradient():
        x = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, mask=mask))
        return tape.gradient(total, x).numpy()


def keras(check):
    import keras

    # The inputs are the kernel of a layer before, of which a step of SGD at rate 1
    # shows the gradient, whatever the engine.
    model = keras.Sequential(
        [
            keras.Input((4, 1)),
            keras.layers.Masking(mask_value=9.0),
            keras.layers.SimpleRNN(1, use_bias=False),
        ]
    )
    model.set_weights([np.array([[W]]), np.array([[U]])])

    @check("last states")
    def states():
        return model.predict(X, verbose=0)

    @check("gradient of the inputs")
    def gradient():
        class Inputs(keras.layers.Layer):
            def build(self, shape):
                self.x = self.add_weight(shape=X.shape, initializer="zeros")

            def call(self, rows):
                return keras.ops.take(self.x, rows, axis=0)

        rows = keras.Input((), dtype="int32")
        inputs, layer = Inputs(), keras.layers.SimpleRNN(1, use_bias=False)
        mask = keras.Input((4,), dtype="bool")
        network = keras.Model([rows, mask], layer(inputs(rows), mask=mask))
        inputs.set_weights([X])
        layer.set_weights([np.array([[W]]), np.array([[U]])])
        network.compile(
            keras.optimizers.SGD(1.0), loss=lambda true, found: keras.ops.sum(found)
        )
        marks = np.arange(4) < np.array(LENGTHS)[:, None]
        network.train_on_batch([np.arange(2), marks], np.zeros((2, 1)))
        return X - inputs.get_weights()[0]


def paddle(check):
    import paddle

    layer = paddle.nn.SimpleRNN(1, 1)
    # Without biases (bias_ih_attr=False) the process ends with a segmentation fault.
    layer.bias_ih_l0.set_value(np.zeros(1, "float32"))
    layer.bias_hh_l0.set_value(np.zeros(1, "float32"))
    layer.weight_ih_l0.set_value(np.array([[W]], "float32"))
    layer.weight_hh_l0.set_value(np.array([[U]], "float32"))
    x = paddle.to_tensor(X, stop_gradient=False)
    _, last = layer(x, sequence_length=paddle.to_tensor(LENGTHS))

    @check("last states")
    def states():
        return last[0].numpy()

    @check("gradient of the inputs")
    def gradient():
        last.sum().backward()
        return x.grad.numpy()


def mxnet(check):
    from mxnet import autograd, gluon, nd

    cell = gluon.rnn.RNNCell(1)
    cell.initialize()
    x = nd.array(X)
    x.attach_grad()
    cell.unroll(4, x)
    cell.i2h_weight.set_data(nd.array([[W]]))
    cell.h2h_weight.set_data(nd.array([[U]]))

    # Outputs behind the end are zero, the states are those of the end.
    with autograd.record():
        _, (last,) = cell.unroll(
            4, x, merge_outputs=True, valid_length=nd.array(LENGTHS)
        )
    last.backward()

    check("last states")(lambda: last.asnumpy())
    check("gradient of the inputs")(lambda: x.grad.asnumpy())


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    layer = nn.RNN(1, 1, bias=False)
    layer.Wxh, layer.Whh = mx.array([[W]]), mx.array([[U]])

    # What comes behind the end does not reach the state at the end.
    def last(x):
        return layer(x)[mx.arange(2), mx.array(LENGTHS) - 1]

    @check("last states")
    def states():
        check.fallback("no lengths, no mask: the state at each end is taken")
        return np.array(last(mx.array(X)))

    @check("gradient of the inputs")
    def gradient():
        check.fallback("no lengths, no mask: the state at each end is taken")
        return np.array(mx.grad(lambda x: last(x).sum())(mx.array(X)))


def chainer(check):
    import chainer
    from chainer import functions, links

    layer = links.NStepRNNTanh(1, 1, 1, 0)
    layer[0].w0.array[...] = W
    layer[0].w1.array[...] = U
    layer[0].b0.array[...] = layer[0].b1.array[...] = 0
    x = chainer.Variable(X.copy())
    # There is no padding: a list of sequences, each as long as it is.
    last, _ = layer(None, [x[row, :length] for row, length in enumerate(LENGTHS)])

    check("last states")(lambda: last[0].array)

    @check("gradient of the inputs")
    def gradient():
        functions.sum(last).backward()
        return x.grad


def cntk(check):
    import cntk as C

    x = C.sequence.input_variable(1, needs_gradient=True)
    layer = C.layers.Recurrence(C.layers.RNNStep(1, activation=C.tanh))(x)
    layer.W.value, layer.H.value = np.float32([[W]]), np.float32([[U]])
    # A batch is a list of arrays: nothing is padded.
    rows = [row[:length] for row, length in zip(X, LENGTHS)]
    last = C.sequence.last(layer)

    check("last states")(lambda: last.eval({x: rows}))

    @check("gradient of the inputs")
    def gradient():
        padded = np.zeros(X.shape)
        for row, found in zip(padded, last.grad({x: rows}, wrt=[x])):
            row[: len(found)] = found
        return padded
