"""Recurrent networks.

An LSTM and a GRU over a batch of sequences with given weights: the states of every
step, and the gradient of the input weights, against the formulas below.
"""

import numpy as np

STEPS, BATCH, INPUTS, UNITS = 5, 2, 3, 4
_random = np.random.RandomState(0)


def _some(*shape):
    return (_random.randint(-48, 49, shape) / 64.0).astype("float32")


#: Time first. Gates of the LSTM: input, forget, candidate, output; of the GRU: reset,
#: update, new.
X = _some(STEPS, BATCH, INPUTS)
W4, U4, B4 = _some(INPUTS, 4 * UNITS), _some(UNITS, 4 * UNITS), _some(4 * UNITS)
W3, U3, B3 = _some(INPUTS, 3 * UNITS), _some(UNITS, 3 * UNITS), _some(3 * UNITS)
#: The loss is the sum of all states times these.
LOSS = _some(STEPS, BATCH, UNITS)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(w):
    h = c = np.zeros((BATCH, UNITS))
    states = []
    for x in X.astype("float64"):
        i, f, g, o = np.split(x @ w + h @ U4 + B4, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states)


def _gru(w, reset_after):
    ur, uz, un = np.split(U3.astype("float64"), 3, axis=1)
    h = np.zeros((BATCH, UNITS))
    states = []
    for x in X.astype("float64"):
        r, z, n = np.split(x @ w + B3, 3, axis=1)
        r, z = _sigmoid(r + h @ ur), _sigmoid(z + h @ uz)
        n = np.tanh(n + (r * (h @ un) if reset_after else (r * h) @ un))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.stack(states)


def _gradient(network, w, step=1e-5):
    gradient = np.zeros(w.shape)
    for index in np.ndindex(*w.shape):
        up, down = w.astype("float64"), w.astype("float64")
        up[index] += step
        down[index] -= step
        gradient[index] = ((network(up) - network(down)) * LOSS).sum() / (2 * step)
    return gradient


_GRUS = [lambda w: _gru(w, True), lambda w: _gru(w, False)]
_STATES = [network(W3) for network in _GRUS]
_GRADIENTS = [_gradient(network, W3) for network in _GRUS]


def _near(value, truths):
    value = np.asarray(value)
    return any(
        value.shape == t.shape and np.allclose(value, t, rtol=1e-5, atol=5e-6)
        for t in truths
    )


def states_of_a_gru(value):
    """the states of a GRU that resets after the product, or before it"""
    return _near(value, _STATES)


def gradient_of_a_gru(value):
    """the gradient of a GRU that resets after the product, or before it"""
    return _near(value, _GRADIENTS)


def _form(states):
    return "resets %s the product" % (
        "after" if _near(states, _STATES[:1]) else "before"
    )


CHECKS = {
    "LSTM": _lstm(W4),
    "gradient of the LSTM": _gradient(_lstm, W4),
    "GRU": states_of_a_gru,
    "gradient of the GRU": gradient_of_a_gru,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    def sigmoid(x):
        return 1 / (1 + anp.exp(-x))

    def lstm(w):
        h = c = anp.zeros((BATCH, UNITS))
        states = []
        for x in X:
            i, f, g, o = anp.split(x @ w + h @ U4 + B4, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
            states.append(h)
        return anp.stack(states)

    def gru(w):
        ur, uz, un = np.split(U3, 3, axis=1)
        h = anp.zeros((BATCH, UNITS))
        states = []
        for x in X:
            r, z, n = anp.split(x @ w + B3, 3, axis=1)
            r, z = sigmoid(r + h @ ur), sigmoid(z + h @ uz)
            h = (1 - z) * anp.tanh(n + r * (h @ un)) + z * h
            states.append(h)
        return anp.stack(states)

    by_hand = "no layers: the formula in a loop of Python"

    @check("LSTM")
    def _():
        check.fallback(by_hand)
        return lstm(W4)

    @check("gradient of the LSTM")
    def _():
        check.fallback(by_hand)
        return grad(lambda w: anp.sum(lstm(w) * LOSS))(W4.astype("float64"))

    @check("GRU")
    def _():
        check.fallback(by_hand)
        return gru(W3)

    @check("gradient of the GRU")
    def _():
        check.fallback(by_hand)
        return grad(lambda w: anp.sum(gru(w) * LOSS))(W3.astype("float64"))


def pytorch(check):
    import torch
    from torch import nn

    lstm, gru = nn.LSTM(INPUTS, UNITS), nn.GRU(INPUTS, UNITS)
    with torch.no_grad():
        for layer, w, u, b in ((lstm, W4, U4, B4), (gru, W3, U3, B3)):
            layer.weight_ih_l0.copy_(torch.from_numpy(w.T))
            layer.weight_hh_l0.copy_(torch.from_numpy(u.T))
            layer.bias_ih_l0.copy_(torch.from_numpy(b))
            layer.bias_hh_l0.zero_()

    def gradient(layer):
        states, _ = layer(torch.from_numpy(X))
        (states * torch.from_numpy(LOSS)).sum().backward()
        return layer.weight_ih_l0.grad.numpy().T

    @check("LSTM")
    def _():
        return lstm(torch.from_numpy(X))[0].detach().numpy()

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru(torch.from_numpy(X))[0].detach().numpy()
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return gradient(gru)


def jax(check):
    import jax
    import jax.numpy as jnp

    def lstm(w):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x @ w + h @ U4 + B4, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((BATCH, UNITS))
        return jax.lax.scan(step, (zeros, zeros), X)[1]

    def gru(w):
        ur, uz, un = np.split(U3, 3, axis=1)

        def step(h, x):
            r, z, n = jnp.split(x @ w + B3, 3, axis=1)
            r, z = jax.nn.sigmoid(r + h @ ur), jax.nn.sigmoid(z + h @ uz)
            h = (1 - z) * jnp.tanh(n + r * (h @ un)) + z * h
            return h, h

        return jax.lax.scan(step, jnp.zeros((BATCH, UNITS)), X)[1]

    by_hand = "no layers: the formula in lax.scan"

    @check("LSTM")
    def _():
        check.fallback(by_hand)
        return jax.jit(lstm)(W4)

    @check("gradient of the LSTM")
    def _():
        check.fallback(by_hand)
        return jax.jit(jax.grad(lambda w: jnp.sum(lstm(w) * LOSS)))(W4)

    @check("GRU")
    def _():
        check.fallback(by_hand)
        return jax.jit(gru)(W3)

    @check("gradient of the GRU")
    def _():
        check.fallback(by_hand)
        return jax.jit(jax.grad(lambda w: jnp.sum(gru(w) * LOSS)))(W3)


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    lstm = nnx.RNN(
        nnx.OptimizedLSTMCell(INPUTS, UNITS, rngs=nnx.Rngs(0)), time_major=True
    )
    gru = nnx.RNN(nnx.GRUCell(INPUTS, UNITS, rngs=nnx.Rngs(0)), time_major=True)
    lstm.cell.dense_i.kernel[...] = jnp.asarray(W4)
    lstm.cell.dense_h.kernel[...] = jnp.asarray(U4)
    lstm.cell.dense_h.bias[...] = jnp.asarray(B4)
    gru.cell.dense_i.kernel[...] = jnp.asarray(W3)
    gru.cell.dense_i.bias[...] = jnp.asarray(B3)
    gru.cell.dense_h.kernel[...] = jnp.asarray(U3)

    def gradient(network):
        gradients = nnx.grad(lambda m: jnp.sum(m(X) * LOSS))(network)
        return gradients["cell"]["dense_i"]["kernel"][...]

    @check("LSTM")
    def _():
        return lstm(X)

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru(X)
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return gradient(gru)


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    key = jax.random.key(0)
    lstm = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias),
        eqx.nn.LSTMCell(INPUTS, UNITS, key=key),
        (W4.T, U4.T, B4),
    )
    gru = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n),
        eqx.nn.GRUCell(INPUTS, UNITS, key=key),
        (W3.T, U3.T, B3, np.zeros(UNITS, "float32")),
    )

    def run_lstm(cell, xs):
        def step(state, x):
            state = cell(x, state)
            return state, state[0]

        return jax.lax.scan(step, (jnp.zeros(UNITS), jnp.zeros(UNITS)), xs)[1]

    def run_gru(cell, xs):
        def step(state, x):
            state = cell(x, state)
            return state, state

        return jax.lax.scan(step, jnp.zeros(UNITS), xs)[1]

    # A module is written for one sequence; vmap gives it the batch.
    def states(run, cell):
        return jax.vmap(lambda xs: run(cell, xs), in_axes=1, out_axes=1)(X)

    def gradient(run, cell):
        loss = eqx.filter_grad(lambda c: jnp.sum(states(run, c) * LOSS))
        return loss(cell).weight_ih.T

    @check("LSTM")
    def _():
        return states(run_lstm, lstm)

    @check("gradient of the LSTM")
    def _():
        return gradient(run_lstm, lstm)

    @check("GRU")
    def _():
        found = states(run_gru, gru)
        check.note(_form(found))
        return found

    @check("gradient of the GRU")
    def _():
        return gradient(run_gru, gru)


def tensorflow(check):
    import tensorflow as tf

    inputs = tf.constant(X.transpose(1, 0, 2))
    lstm = tf.keras.layers.LSTM(UNITS, return_sequences=True)
    gru = tf.keras.layers.GRU(UNITS, return_sequences=True)
    lstm.build(inputs.shape)
    lstm.set_weights([W4, U4, B4])
    gru.build(inputs.shape)
    gru.set_weights(_keras_gru())

    def gradient(layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs) * LOSS.transpose(1, 0, 2))
        return tape.gradient(loss, layer.trainable_variables[0]).numpy()

    @check("LSTM")
    def _():
        return lstm(inputs).numpy().transpose(1, 0, 2)

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru(inputs).numpy().transpose(1, 0, 2)
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return _keras_order(gradient(gru))


def _keras_order(array):
    """Update and reset change places."""
    first, second, new = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, new], axis=-1)


def _keras_gru():
    biases = np.stack([_keras_order(B3), np.zeros(3 * UNITS, "float32")])
    return [_keras_order(W3), _keras_order(U3), biases]


def keras(check):
    import keras

    inputs, loss = X.transpose(1, 0, 2), LOSS.transpose(1, 0, 2)
    lstm = keras.Sequential(
        [keras.Input((STEPS, INPUTS)), keras.layers.LSTM(UNITS, return_sequences=True)]
    )
    gru = keras.Sequential(
        [keras.Input((STEPS, INPUTS)), keras.layers.GRU(UNITS, return_sequences=True)]
    )

    # A step of SGD at rate 1 shows the gradient, whatever the engine.
    def gradient(model):
        before = model.get_weights()[0]
        model.compile("sgd", loss=lambda true, found: keras.ops.sum(true * found))
        model.optimizer.learning_rate = 1.0
        model.train_on_batch(inputs, loss)
        return before - model.get_weights()[0]

    lstm.set_weights([W4, U4, B4])
    gru.set_weights(_keras_gru())

    @check("LSTM")
    def _():
        return lstm.predict(inputs, verbose=0).transpose(1, 0, 2)

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru.predict(inputs, verbose=0).transpose(1, 0, 2)
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return _keras_order(gradient(gru))


def paddle(check):
    import paddle

    lstm = paddle.nn.LSTM(INPUTS, UNITS, time_major=True)
    gru = paddle.nn.GRU(INPUTS, UNITS, time_major=True)
    for layer, w, u, b in ((lstm, W4, U4, B4), (gru, W3, U3, B3)):
        layer.weight_ih_l0.set_value(w.T)
        layer.weight_hh_l0.set_value(u.T)
        layer.bias_ih_l0.set_value(b)
        layer.bias_hh_l0.set_value(0 * b)

    def gradient(layer):
        states, _ = layer(paddle.to_tensor(X))
        (states * paddle.to_tensor(LOSS)).sum().backward()
        return layer.weight_ih_l0.grad.numpy().T

    @check("LSTM")
    def _():
        return lstm(paddle.to_tensor(X))[0].numpy()

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru(paddle.to_tensor(X))[0].numpy()
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return gradient(gru)


def mxnet(check):
    from mxnet import autograd, gluon, nd

    x = nd.array(X)
    lstm, gru = gluon.rnn.LSTM(UNITS), gluon.rnn.GRU(UNITS)
    for layer, w, u, b in ((lstm, W4, U4, B4), (gru, W3, U3, B3)):
        layer.initialize()
        layer(x)
        layer.l0_i2h_weight.set_data(nd.array(w.T))
        layer.l0_h2h_weight.set_data(nd.array(u.T))
        layer.l0_i2h_bias.set_data(nd.array(b))
        layer.l0_h2h_bias.set_data(nd.zeros(b.shape))

    def gradient(layer):
        with autograd.record():
            loss = (layer(x) * nd.array(LOSS)).sum()
        loss.backward()
        return layer.l0_i2h_weight.grad().asnumpy().T

    @check("LSTM")
    def _():
        return lstm(x).asnumpy()

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru(x).asnumpy()
        check.note(_form(states))
        return states

    @check("gradient of the GRU")
    def _():
        return gradient(gru)


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    x, loss = mx.array(X.transpose(1, 0, 2)), mx.array(LOSS.transpose(1, 0, 2))
    lstm, gru = nn.LSTM(INPUTS, UNITS), nn.GRU(INPUTS, UNITS)
    lstm.Wx, lstm.Wh, lstm.bias = map(mx.array, (W4.T, U4.T, B4))
    gru.Wx, gru.Wh, gru.b = map(mx.array, (W3.T, U3.T, B3))
    gru.bhn = mx.zeros(UNITS)

    # An LSTM gives back its cells as well.
    def states(layer):
        found = layer(x)
        return found[0] if isinstance(found, tuple) else found

    def gradient(layer):
        gradients = nn.value_and_grad(layer, lambda: (states(layer) * loss).sum())()[1]
        return np.array(gradients["Wx"]).T

    @check("LSTM")
    def _():
        return np.array(states(lstm)).transpose(1, 0, 2)

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        found = np.array(states(gru)).transpose(1, 0, 2)
        check.note(_form(found))
        return found

    @check("gradient of the GRU")
    def _():
        return gradient(gru)


def chainer(check):
    from chainer import functions, links

    # A list of sequences goes in. Each gate has weights of its own, first those of the
    # input: of input, forget, new and output; of reset, update and new.
    def network(kind, w, u, b, order):
        layer = kind(1, INPUTS, UNITS, 0)
        parts = len(order)
        for place, part in enumerate(order):
            rows = slice(part * UNITS, (part + 1) * UNITS)
            getattr(layer[0], "w%d" % place).array[...] = w[:, rows].T
            getattr(layer[0], "w%d" % (place + parts)).array[...] = u[:, rows].T
            getattr(layer[0], "b%d" % place).array[...] = b[rows]
            getattr(layer[0], "b%d" % (place + parts)).array[...] = 0
        return layer

    lstm = network(links.NStepLSTM, W4, U4, B4, (0, 1, 2, 3))
    gru = network(links.NStepGRU, W3, U3, B3, (0, 1, 2))

    def states(layer):
        rows = list(X.transpose(1, 0, 2))
        found = layer(None, rows) if layer is gru else layer(None, None, rows)
        return functions.stack(found[-1], axis=1)

    def gradient(layer, parts):
        layer.cleargrads()
        functions.sum(states(layer) * LOSS).backward()
        return np.concatenate(
            [getattr(layer[0], "w%d" % place).grad.T for place in range(parts)], axis=1
        )

    @check("LSTM")
    def _():
        return states(lstm).array

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm, 4)

    @check("GRU")
    def _():
        found = states(gru).array
        check.note(_form(found))
        return found

    @check("gradient of the GRU")
    def _():
        return gradient(gru, 3)


def keras2(check):
    import keras
    from keras import backend as K

    inputs, loss = X.transpose(1, 0, 2), LOSS.transpose(1, 0, 2)

    def network(layer, weights):
        model = keras.Sequential([layer])
        model.set_weights(weights)
        return model

    given = {"return_sequences": True, "input_shape": (STEPS, INPUTS)}
    lstm = network(keras.layers.LSTM(UNITS, **given), [W4, U4, B4])
    weights = [_keras_order(part) for part in (W3, U3, B3)]
    gru = network(keras.layers.GRU(UNITS, **given), weights)

    # A step of SGD shows the gradient, at a rate that undoes the mean over the batch.
    def gradient(model):
        before = model.get_weights()[0]
        model.compile(
            keras.optimizers.SGD(float(BATCH)),
            loss=lambda true, found: K.sum(true * found, axis=(1, 2)),
        )
        model.train_on_batch(inputs, loss)
        return before - model.get_weights()[0]

    @check("LSTM")
    def _():
        return lstm.predict(inputs).transpose(1, 0, 2)

    @check("gradient of the LSTM")
    def _():
        return gradient(lstm)

    @check("GRU")
    def _():
        states = gru.predict(inputs).transpose(1, 0, 2)
        check.note(_form(states) + "; with reset_after=True after it")
        return states

    @check("gradient of the GRU")
    def _():
        return _keras_order(gradient(gru))


def cntk(check):
    import cntk as C

    x = C.sequence.input_variable(INPUTS)

    # Columns of a gate: the LSTM's are input, candidate, forget, output; the GRU's
    # update, reset, new, with the recurrent weights of the last ones apart.
    def columns(array, order):
        parts = np.split(array, len(order), axis=-1)
        return np.concatenate([parts[part] for part in order], axis=-1)

    def back(array, order):
        return columns(array, list(np.argsort(order)))

    lstm_order, gru_order = (0, 2, 1, 3), (1, 0, 2)
    lstm = C.layers.Recurrence(C.layers.LSTM(UNITS))(x)
    lstm.W.value, lstm.b.value = columns(W4, lstm_order), columns(B4, lstm_order)
    lstm.H.value = columns(U4, lstm_order)
    gru = C.layers.Recurrence(C.layers.GRU(UNITS))(x)
    gru.W.value, gru.b.value = columns(W3, gru_order), columns(B3, gru_order)
    gru.H.value = columns(U3, gru_order)[:, : 2 * UNITS]
    gru.H1.value = columns(U3, gru_order)[:, 2 * UNITS :]
    rows = list(X.transpose(1, 0, 2))

    def states(network):
        return np.stack(network.eval({x: rows}), axis=1)

    def gradient(network, order):
        weights = C.sequence.input_variable(UNITS)
        total = C.reduce_sum(C.sequence.reduce_sum(network * weights))
        found = total.grad(
            {x: rows, weights: list(LOSS.transpose(1, 0, 2))}, wrt=[network.W]
        )
        return back(found, order)

    check("LSTM")(lambda: states(lstm))
    check("gradient of the LSTM")(lambda: gradient(lstm, lstm_order))

    @check("GRU")
    def _():
        found = states(gru)
        check.note(_form(found))
        return found

    check("gradient of the GRU")(lambda: gradient(gru, gru_order))
