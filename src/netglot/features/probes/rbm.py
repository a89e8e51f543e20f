"""Restricted Boltzmann machines.

One step of contrastive divergence (Hinton, 2002) from given weights and given random
numbers; then training with the framework's own random numbers on the bars of a picture
of 4 by 4, whose reconstruction error must fall.
"""

import numpy as np

#: Four rows and four columns.
_ROWS = [np.outer(np.eye(4)[i], np.ones(4)).ravel() for i in range(4)]
_COLUMNS = [np.outer(np.ones(4), np.eye(4)[i]).ravel() for i in range(4)]
V = np.array(_ROWS + _COLUMNS, "float32")
HIDDEN, RATE, STEPS = 12, 0.5, 400
_random = np.random.RandomState(0)
W = (0.1 * _random.randn(16, HIDDEN)).astype("float32")
#: Uniform numbers: a hidden unit is on where its probability is larger.
U = _random.rand(len(V), HIDDEN).astype("float32")


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _one_step():
    v, w = V.astype("float64"), W.astype("float64")
    h = _sigmoid(v @ w)
    v1 = _sigmoid((h > U) @ w.T)
    h1 = _sigmoid(v1 @ w)
    w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
    a, b = RATE * (v - v1).mean(0), RATE * (h - h1).mean(0)
    return np.concatenate([w.ravel(), a, b])


def falls(errors):
    """The mean square error of the reconstruction falls to under a third."""
    return 0 <= errors[1] < errors[0] / 3


CHECKS = {"one step": _one_step(), "training": falls}


def _machine(check, update, error, weights, uniform, array=lambda x: x):
    """Both checks for frameworks that compute with arrays.

    ``update(weights, v, u)`` gives the new weights, ``error(weights, v)`` the mean
    square error, ``weights()`` the first ones; ``uniform()`` draws.
    """

    @check("one step")
    def step():
        found = update(weights(), array(V), array(U))
        return np.concatenate([np.ravel(np.asarray(each)) for each in found])

    @check("training")
    def training():
        found, v = weights(), array(V)
        before = float(error(found, v))
        for _ in range(STEPS):
            found = update(found, v, uniform())
        return [before, float(error(found, v))]


def numpy(check):
    rng = np.random.default_rng(0)

    def update(weights, v, u):
        w, a, b = weights
        h = _sigmoid(v @ w + b)
        v1 = _sigmoid((u < h) @ w.T + a)
        h1 = _sigmoid(v1 @ w + b)
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        return ((v - _sigmoid(_sigmoid(v @ w + b) @ w.T + a)) ** 2).mean()

    def weights():
        return W, np.zeros(16), np.zeros(HIDDEN)

    _machine(check, update, error, weights, lambda: rng.random(U.shape))


def pytorch(check):
    import torch

    torch.manual_seed(0)

    @torch.no_grad()
    def update(weights, v, u):
        w, a, b = weights
        h = torch.sigmoid(v @ w + b)
        v1 = torch.sigmoid((u < h).float() @ w.T + a)
        h1 = torch.sigmoid(v1 @ w + b)
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        again = torch.sigmoid(torch.sigmoid(v @ w + b) @ w.T + a)
        return torch.nn.functional.mse_loss(again, v)

    def weights():
        return torch.tensor(W), torch.zeros(16), torch.zeros(HIDDEN)

    _machine(check, update, error, weights, lambda: torch.rand(U.shape), torch.tensor)


def jax(check):
    import itertools

    import jax
    import jax.numpy as jnp

    sigmoid = jax.nn.sigmoid

    @jax.jit
    def update(weights, v, u):
        w, a, b = weights
        h = sigmoid(v @ w + b)
        v1 = sigmoid((u < h) @ w.T + a)
        h1 = sigmoid(v1 @ w + b)
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    @jax.jit
    def error(weights, v):
        w, a, b = weights
        return jnp.mean((v - sigmoid(sigmoid(v @ w + b) @ w.T + a)) ** 2)

    def weights():
        return jnp.asarray(W), jnp.zeros(16), jnp.zeros(HIDDEN)

    keys = map(jax.random.key, itertools.count())
    draw = jax.jit(lambda key: jax.random.uniform(key, U.shape))
    _machine(check, update, error, weights, lambda: draw(next(keys)), jnp.asarray)


def tensorflow(check):
    import tensorflow as tf

    rng = tf.random.Generator.from_seed(0)

    @tf.function
    def update(weights, v, u):
        w, a, b = weights
        h = tf.sigmoid(v @ w + b)
        v1 = tf.sigmoid(tf.cast(u < h, tf.float32) @ tf.transpose(w) + a)
        h1 = tf.sigmoid(v1 @ w + b)
        positive = tf.matmul(v, h, transpose_a=True)
        negative = tf.matmul(v1, h1, transpose_a=True)
        w = w + RATE * (positive - negative) / len(v)
        a = a + RATE * tf.reduce_mean(v - v1, axis=0)
        return w, a, b + RATE * tf.reduce_mean(h - h1, axis=0)

    @tf.function
    def error(weights, v):
        w, a, b = weights
        again = tf.sigmoid(tf.sigmoid(v @ w + b) @ tf.transpose(w) + a)
        return tf.reduce_mean((v - again) ** 2)

    def weights():
        return tf.constant(W), tf.zeros(16), tf.zeros(HIDDEN)

    _machine(check, update, error, weights, lambda: rng.uniform(U.shape), tf.constant)


def keras(check):
    import keras
    from keras import ops

    seed = keras.random.SeedGenerator(0)

    def update(weights, v, u):
        w, a, b = weights
        h = ops.sigmoid(v @ w + b)
        v1 = ops.sigmoid(ops.cast(u < h, "float32") @ ops.transpose(w) + a)
        h1 = ops.sigmoid(v1 @ w + b)
        slope = ops.transpose(v) @ h - ops.transpose(v1) @ h1
        a = a + RATE * ops.mean(v - v1, axis=0)
        b = b + RATE * ops.mean(h - h1, axis=0)
        return w + RATE * slope / len(v), a, b

    def error(weights, v):
        w, a, b = weights
        again = ops.sigmoid(ops.sigmoid(v @ w + b) @ ops.transpose(w) + a)
        return ops.mean(ops.square(v - again))

    def weights():
        return ops.convert_to_tensor(W), ops.zeros(16), ops.zeros(HIDDEN)

    def uniform():
        return keras.random.uniform(U.shape, seed=seed)

    _machine(check, update, error, weights, uniform, ops.convert_to_tensor)


def paddle(check):
    import paddle
    from paddle.nn import functional as F

    paddle.seed(0)

    def update(weights, v, u):
        w, a, b = weights
        h = F.sigmoid(v @ w + b)
        v1 = F.sigmoid((u < h).astype("float32") @ w.T + a)
        h1 = F.sigmoid(v1 @ w + b)
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        return F.mse_loss(F.sigmoid(F.sigmoid(v @ w + b) @ w.T + a), v)

    def weights():
        return paddle.to_tensor(W), paddle.zeros([16]), paddle.zeros([HIDDEN])

    def uniform():
        return paddle.rand(U.shape)

    _machine(check, update, error, weights, uniform, paddle.to_tensor)


def mlx(check):
    import mlx.core as mx

    mx.random.seed(0)

    def update(weights, v, u):
        w, a, b = weights
        h = mx.sigmoid(v @ w + b)
        v1 = mx.sigmoid((u < h).astype(mx.float32) @ w.T + a)
        h1 = mx.sigmoid(v1 @ w + b)
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        return mx.square(v - mx.sigmoid(mx.sigmoid(v @ w + b) @ w.T + a)).mean().item()

    def weights():
        return mx.array(W), mx.zeros(16), mx.zeros(HIDDEN)

    def uniform():
        return mx.random.uniform(shape=U.shape)

    _machine(check, update, error, weights, uniform, mx.array)


def mxnet(check):
    from mxnet import nd, random

    random.seed(0)

    def update(weights, v, u):
        w, a, b = weights
        h = nd.sigmoid(nd.dot(v, w) + b)
        v1 = nd.sigmoid(nd.dot(u < h, w, transpose_b=True) + a)
        h1 = nd.sigmoid(nd.dot(v1, w) + b)
        slope = nd.dot(v, h, transpose_a=True) - nd.dot(v1, h1, transpose_a=True)
        a = a + RATE * (v - v1).mean(axis=0)
        return w + RATE * slope / len(v), a, b + RATE * (h - h1).mean(axis=0)

    def error(weights, v):
        w, a, b = weights
        hidden = nd.sigmoid(nd.dot(v, w) + b)
        again = nd.sigmoid(nd.dot(hidden, w, transpose_b=True) + a)
        return nd.square(v - again).mean().asscalar()

    def weights():
        return nd.array(W), nd.zeros(16), nd.zeros(HIDDEN)

    @check("one step")
    def step():
        found = update(weights(), nd.array(V), nd.array(U))
        return np.concatenate([each.asnumpy().ravel() for each in found])

    @check("training")
    def training():
        found, v = weights(), nd.array(V)
        before = error(found, v)
        for _ in range(STEPS):
            found = update(found, v, random.uniform(shape=U.shape))
        return [before, error(found, v)]


def chainer(check):
    import chainer
    from chainer import functions as F

    rng = np.random.RandomState(0)

    def update(weights, v, u):
        w, a, b = weights
        with chainer.no_backprop_mode():
            h = F.sigmoid(F.linear(v, w.T, b)).array
            v1 = F.sigmoid(F.linear((u < h).astype("float32"), w, a)).array
            h1 = F.sigmoid(F.linear(v1, w.T, b)).array
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(v)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        again = F.sigmoid(F.linear(F.sigmoid(F.linear(v, w.T, b)), w, a))
        return F.mean_squared_error(again, v).array

    def weights():
        return W, np.zeros(16, "float32"), np.zeros(HIDDEN, "float32")

    def uniform():
        return rng.rand(*U.shape).astype("float32")

    _machine(check, update, error, weights, uniform)


def _symbolic(check, function, shared, T, sigmoid, RandomStreams):
    """Theano and its heir: shared weights, and a function with updates."""

    def machine(u):
        w, a = shared(W), shared(np.zeros(16, "float32"))
        b, v = shared(np.zeros(HIDDEN, "float32")), T.matrix("v", dtype="float32")
        h = sigmoid(T.dot(v, w) + b)
        v1 = sigmoid(T.dot(T.cast(T.lt(u, h), "float32"), w.T) + a)
        h1 = sigmoid(T.dot(v1, w) + b)
        rate = np.float32(RATE)
        slope = (T.dot(v.T, h) - T.dot(v1.T, h1)) / np.float32(len(V))
        updates = [
            (w, w + rate * slope),
            (a, a + rate * (v - v1).mean(axis=0)),
            (b, b + rate * (h - h1).mean(axis=0)),
        ]
        again = sigmoid(T.dot(sigmoid(T.dot(v, w) + b), w.T) + a)
        update = function([v], [], updates=updates)
        return update, function([v], T.sqr(v - again).mean()), (w, a, b)

    @check("one step")
    def step():
        update, _, weights = machine(T.as_tensor_variable(U))
        update(V)
        return np.concatenate([each.get_value().ravel() for each in weights])

    @check("training")
    def training():
        uniform = RandomStreams(seed=0).uniform(size=U.shape)
        update, error, _ = machine(T.cast(uniform, "float32"))
        before = error(V)
        for _ in range(STEPS):
            update(V)
        return [before, error(V)]


def theano(check):
    import theano
    import theano.tensor as T
    from theano.tensor.shared_randomstreams import RandomStreams

    _symbolic(check, theano.function, theano.shared, T, T.nnet.sigmoid, RandomStreams)


def pytensor(check):
    import pytensor
    import pytensor.tensor as pt
    from pytensor.tensor.random.utils import RandomStream

    _symbolic(check, pytensor.function, pytensor.shared, pt, pt.sigmoid, RandomStream)


def tensorflow1(check):
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.set_random_seed(0)
        v = tf.compat.v1.placeholder(tf.float32, (None, 16))
        u = tf.compat.v1.placeholder_with_default(
            tf.random.uniform(tf.stack([tf.shape(v)[0], HIDDEN])), (None, HIDDEN)
        )
        w, a = tf.Variable(W), tf.Variable(tf.zeros(16))
        b = tf.Variable(tf.zeros(HIDDEN))
        h = tf.sigmoid(tf.matmul(v, w) + b)
        sampled = tf.cast(u < h, tf.float32)
        v1 = tf.sigmoid(tf.matmul(sampled, w, transpose_b=True) + a)
        h1 = tf.sigmoid(tf.matmul(v1, w) + b)
        positive = tf.matmul(v, h, transpose_a=True)
        negative = tf.matmul(v1, h1, transpose_a=True)
        moves = [
            (positive - negative) / float(len(V)),
            tf.reduce_mean(v - v1, axis=0),
            tf.reduce_mean(h - h1, axis=0),
        ]
        # All are computed before one of them is added.
        with tf.control_dependencies(moves):
            update = tf.group(
                *[
                    tf.compat.v1.assign_add(p, RATE * m)
                    for p, m in zip((w, a, b), moves)
                ]
            )
        hidden = tf.sigmoid(tf.matmul(v, w) + b)
        again = tf.sigmoid(tf.matmul(hidden, w, transpose_b=True) + a)
        error = tf.reduce_mean(tf.square(v - again))
        initialize = tf.compat.v1.global_variables_initializer()

    @check("one step")
    def step():
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(initialize)
            session.run(update, {v: V, u: U})
            return np.concatenate([x.ravel() for x in session.run([w, a, b])])

    @check("training")
    def training():
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(initialize)
            before = session.run(error, {v: V})
            for _ in range(STEPS):
                session.run(update, {v: V})
            return [before, session.run(error, {v: V})]


def tinygrad(check):
    from tinygrad import Tensor, TinyJit

    Tensor.manual_seed(0)

    def update(weights, v, u):
        w, a, b = weights
        h = (v @ w + b).sigmoid()
        v1 = ((u < h).float() @ w.T + a).sigmoid()
        h1 = (v1 @ w + b).sigmoid()
        w = w + RATE * (v.T @ h - v1.T @ h1) / len(V)
        return w, a + RATE * (v - v1).mean(0), b + RATE * (h - h1).mean(0)

    def error(weights, v):
        w, a, b = weights
        return (v - ((v @ w + b).sigmoid() @ w.T + a).sigmoid()).square().mean().item()

    def weights():
        return Tensor(W), Tensor.zeros(16), Tensor.zeros(HIDDEN)

    @check("one step")
    def step():
        found = update(weights(), Tensor(V), Tensor(U))
        return np.concatenate([each.numpy().ravel() for each in found])

    @check("training")
    def training():
        found, v = [each.contiguous().realize() for each in weights()], Tensor(V)

        @TinyJit
        def learn(u):
            for old, new in zip(found, update(found, v, u)):
                old.assign(new)
            Tensor.realize(*found)

        before = error(found, v)
        for _ in range(STEPS):
            learn(Tensor.rand(*U.shape).realize())
        return [before, error(found, v)]


def cntk(check):
    import cntk as C

    w, a, b = [C.parameter(shape) for shape in ((16, HIDDEN), 16, HIDDEN)]
    v, u = C.input_variable(16), C.input_variable(HIDDEN)

    def hidden(v):
        return C.sigmoid(C.times(v, w) + b)

    def visible(h):
        return C.sigmoid(C.times(h, C.transpose(w, (1, 0))) + a)

    h = hidden(v)
    v1 = visible(C.less(u, h))
    h1 = hidden(v1)
    moments = [
        C.times_transpose(C.reshape(v, (16, 1)), C.reshape(h, (HIDDEN, 1))),
        C.times_transpose(C.reshape(v1, (16, 1)), C.reshape(h1, (HIDDEN, 1))),
    ]
    changes = [moments[0] - moments[1], v - v1, h - h1]
    changes = [
        C.reduce_mean(change, axis=C.Axis.default_batch_axis()) for change in changes
    ]
    steps = [C.assign(p, p + RATE * change) for p, change in zip((w, a, b), changes)]
    step = C.combine(steps)
    distance = C.reduce_mean(C.square(v - visible(hidden(v))))
    rng = np.random.RandomState(0)

    def weights():
        w.value, a.value, b.value = (
            W,
            np.zeros(16, "float32"),
            np.zeros(HIDDEN, "float32"),
        )
        return w, a, b

    def update(weights, batch, uniform):
        step.eval({v: batch, u: uniform})
        return [p.value for p in weights]

    def error(weights, batch):
        return distance.eval({v: batch}).mean()

    @check("one step")
    def one_step():
        found = update(weights(), V, U)
        return np.concatenate([np.ravel(each) for each in found])

    @check("training")
    def training():
        found = weights()
        before = float(error(found, V))
        for _ in range(STEPS):
            update(found, V, rng.rand(*U.shape).astype("float32"))
        return [before, float(error(found, V))]


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    net = core.Net("contrastive_divergence")

    def hidden(net, v):
        return net.Sigmoid(net.Add([net.MatMul([v, "w"], 1), "b"], 1, broadcast=1), 1)

    def visible(net, h):
        product = net.MatMul([h, "w"], 1, trans_b=1)
        return net.Sigmoid(net.Add([product, "a"], 1, broadcast=1), 1)

    h = hidden(net, "v")
    states = net.Cast(net.LT(["u", h], 1), 1, to=core.DataType.FLOAT)
    v1 = visible(net, states)
    h1 = hidden(net, v1)
    moments = [net.MatMul(pair, 1, trans_a=1) for pair in (["v", h], [v1, h1])]
    changes = {
        "w": net.Scale(net.Sub(moments, 1), 1, scale=1 / len(V)),
        "a": net.ReduceFrontMean(net.Sub(["v", v1], 1), 1, num_reduce_dim=1),
        "b": net.ReduceFrontMean(net.Sub([h, h1], 1), 1, num_reduce_dim=1),
    }
    for name, change in changes.items():
        net.WeightedSum([name, "one", change, "rate"], name)

    test = core.Net("reconstruction")
    squares = test.Sqr(test.Sub(["v", visible(test, hidden(test, "v"))], 1), 1)
    distance = test.SumElements(squares, 1, average=1)
    workspace.FeedBlob("one", np.ones(1, "float32"))
    workspace.FeedBlob("rate", np.float32([RATE]))
    rng = np.random.RandomState(0)

    def weights():
        start = W, np.zeros(16, "float32"), np.zeros(HIDDEN, "float32")
        for name, array in zip("wab", start):
            workspace.FeedBlob(name, array)
        return start

    def update(_, batch, uniform):
        workspace.FeedBlob("v", batch)
        workspace.FeedBlob("u", uniform)
        workspace.RunNetOnce(net)
        return workspace.FetchBlobs(["w", "a", "b"])

    def error(_, batch):
        workspace.FeedBlob("v", batch)
        workspace.RunNetOnce(test)
        return workspace.FetchBlob(distance)

    def uniform():
        return rng.rand(*U.shape).astype("float32")

    _machine(check, update, error, weights, uniform)
