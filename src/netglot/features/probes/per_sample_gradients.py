"""Gradients per observation.

Is there the gradient of each observation's loss, from one pass over the batch? Of the
weights of tanh(x w), whose loss is the squared distance to y.
"""

import numpy as np

X = np.array([[0.3, -0.7], [0.9, 0.2], [-0.4, 1.1], [0.5, 0.6], [-1.2, 0.1]])
Y = np.array([0.1, -0.3, 0.8, 0.0, 0.5])
W = np.array([0.7, -0.2])

_OUT = np.tanh(X @ W)
EACH = (2 * (_OUT - Y) * (1 - _OUT**2))[:, None] * X


def three_at_most(calls):
    """Python runs the loss a few times, not once per observation."""
    return 1 <= calls <= 3


CHECKS = {
    "one gradient per observation": EACH,
    "how often Python runs the loss": three_at_most,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (anp.tanh(anp.dot(x, w)) - y) ** 2

    @check("one gradient per observation")
    def each():
        check.fallback("one gradient after the other, in a loop")
        return [grad(loss)(W, x, y) for x, y in zip(X, Y)]

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def pytorch(check):
    import torch
    from torch.func import grad, vmap

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (torch.tanh(x @ w) - y) ** 2

    @check("one gradient per observation")
    def each():
        w, x, y = map(torch.tensor, (W, X, Y))
        return vmap(grad(loss), in_dims=(None, 0, 0))(w, x, y)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def jax(check):
    import jax
    import jax.numpy as jnp

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (jnp.tanh(x @ w) - y) ** 2

    @check("one gradient per observation")
    def each():
        return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(W, X, Y)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def tensorflow(check):
    import tensorflow as tf

    runs = []

    @check("one gradient per observation")
    def each():
        w = tf.Variable(W)
        with tf.GradientTape() as tape:
            runs.append(1)
            losses = (tf.tanh(tf.linalg.matvec(X, w)) - Y) ** 2
        return tape.jacobian(losses, w)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def keras_jax(check):
    import jax
    from keras import ops

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (ops.tanh(ops.dot(x, w)) - y) ** 2

    @check("one gradient per observation")
    def each():
        check.fallback("by the engine: jax.vmap of jax.grad")
        return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(W, X, Y)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def keras_torch(check):
    import torch
    from keras import ops
    from torch.func import grad, vmap

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (ops.tanh(ops.dot(x, w)) - y) ** 2

    @check("one gradient per observation")
    def each():
        check.fallback("by the engine: torch.func.vmap of torch.func.grad")
        w, x, y = map(torch.tensor, (W, X, Y))
        return vmap(grad(loss), in_dims=(None, 0, 0))(w, x, y)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def keras_tensorflow(check):
    import tensorflow as tf
    from keras import ops

    runs = []

    @check("one gradient per observation")
    def each():
        check.fallback("by the engine: tf.GradientTape.jacobian")
        w = tf.Variable(W)
        with tf.GradientTape() as tape:
            runs.append(1)
            losses = (ops.tanh(ops.dot(tf.constant(X), w)) - Y) ** 2
        return tape.jacobian(losses, w)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def paddle(check):
    import paddle

    runs = []

    @check("one gradient per observation")
    def each():
        x, y = paddle.to_tensor(X), paddle.to_tensor(Y)
        w = paddle.to_tensor(W, stop_gradient=False)
        runs.append(1)
        losses = (paddle.tanh(x @ w) - y) ** 2
        return paddle.autograd.jacobian(losses, w)[:].numpy()

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def mlx(check):
    import mlx.core as mx

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (mx.tanh(mx.sum(x * w)) - y) ** 2

    @check("one gradient per observation")
    def each():
        gradient = mx.vmap(mx.grad(loss), in_axes=(None, 0, 0))
        return np.array(gradient(*map(mx.array, (W, X, Y))))

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def _symbolic(check, library, T, jacobian):
    runs = []

    @check("one gradient per observation")
    def each():
        w = T.vector("w", dtype="float64")
        runs.append(1)
        losses = (T.tanh(T.dot(X, w)) - Y) ** 2
        # A scan over the losses, in the compiled function.
        return library.function([w], jacobian(losses, w), mode="FAST_COMPILE")(W)

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T, theano.gradient.jacobian)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    def jacobian(losses, w):
        return pytensor.gradient.jacobian(losses, w, vectorize=True)

    _symbolic(check, pytensor, T, jacobian)


def tensorflow1(check):
    import tensorflow as tf
    from tensorflow.python.ops.parallel_for.gradients import jacobian

    runs = []

    @check("one gradient per observation")
    def each():
        w = tf.placeholder(tf.float64, 2)
        runs.append(1)
        losses = (tf.tanh(tf.reduce_sum(X * w, 1)) - Y) ** 2
        with tf.Session() as session:
            return session.run(jacobian(losses, w), {w: W})

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def chainer(check):
    import chainer
    import chainer.functions as F

    runs = []

    def loss(w, x, y):
        runs.append(1)
        return (F.tanh(F.sum(x * w)) - y) ** 2

    @check("one gradient per observation")
    def each():
        check.fallback("one gradient after the other, in a loop")
        w = chainer.Variable(W)
        return [chainer.grad([loss(w, x, y)], [w])[0].array for x, y in zip(X, Y)]

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def mxnet(check):
    from mxnet import autograd, nd

    runs = []

    @check("one gradient per observation")
    def each():
        check.fallback("one gradient after the other, in a loop")
        found = []
        for x, y in zip(X, Y):
            w = nd.array(W, dtype="float64")
            w.attach_grad()
            with autograd.record():
                runs.append(1)
                loss = (nd.tanh(nd.sum(w * nd.array(x, dtype="float64"))) - y) ** 2
            loss.backward()
            found.append(w.grad.asnumpy())
        return found

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def cntk(check):
    import cntk as C

    runs = []

    # The weights come with each observation: so does their gradient.
    @check("one gradient per observation")
    def each():
        x, y = (
            C.input_variable(2, dtype=np.float64),
            C.input_variable((), dtype=np.float64),
        )
        w = C.input_variable(2, dtype=np.float64, needs_gradient=True)
        runs.append(1)
        loss = C.square(C.tanh(C.reduce_sum(x * w)) - y)
        copies = np.tile(W, (len(X), 1))
        return loss.grad({x: X, y: Y, w: copies}, wrt=[w])

    @check("how often Python runs the loss")
    def count():
        return len(runs)


def caffe2(check):
    from caffe2.python import core, workspace

    runs = []

    # The weights are tiled, a copy for each observation: so is their gradient.
    @check("one gradient per observation")
    def each():
        workspace.ResetWorkspace()
        net = core.Net("loss")
        for name, array in (("x", X), ("y", Y), ("w", np.tile(W, (len(X), 1)))):
            workspace.FeedBlob(name, array.astype("float32"))
        runs.append(1)
        scores = net.Tanh(net.ReduceBackSum(net.Mul(["x", "w"], 1), 1), 1)
        loss = net.SumElements(net.Sqr(net.Sub([scores, "y"], 1), 1), 1)
        gradients = net.AddGradientOperators([loss])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(gradients["w"])

    check("how often Python runs the loss")(lambda: len(runs))
