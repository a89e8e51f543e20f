"""Gradient accumulation.

Two halves of a batch are differentiated one after the other and one step is taken with
the mean of their gradients: the weights must be those of one step with the whole batch.
"""

import numpy as np

X = np.array([[1, 2], [3, -1], [-2, 1], [4, 0.5]], "float32")
Y = np.array([1, -2, 0.5, 3], "float32")
W = np.array([0.5, -0.25], "float32")
RATE = 0.1


def _gradient(rows):
    """Of half the mean of the squared errors."""
    return X[rows].T @ (X[rows] @ W - Y[rows]) / len(X[rows])


CHECKS = {
    # Nothing is moved by the first half alone.
    "after the first half": W,
    "after both": W - RATE * _gradient(slice(None)),
}


def numpy(check):
    from autograd import grad

    gradient = grad(lambda w, x, y: 0.5 * ((x @ w - y) ** 2).mean())
    total = gradient(W, X[:2], Y[:2])

    @check("after the first half")
    def first():
        check.fallback("by adding the gradients")
        return W

    @check("after both")
    def both():
        check.fallback("by adding the gradients")
        return W - RATE * (total + gradient(W, X[2:], Y[2:])) / 2


def pytorch(check):
    import torch

    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    w = torch.nn.Parameter(torch.from_numpy(W.copy()))
    optimizer = torch.optim.SGD([w], lr=RATE)

    # backward() adds to what is in .grad.
    def backward(rows):
        (0.5 * (x[rows] @ w - y[rows]).square().mean() / 2).backward()

    @check("after the first half")
    def first():
        backward(slice(0, 2))
        return w.tolist()

    @check("after both")
    def both():
        backward(slice(2, 4))
        optimizer.step()
        return w.tolist()


def jax(check):
    import jax
    import jax.numpy as jnp
    import optax

    tx = optax.MultiSteps(optax.sgd(RATE), every_k_schedule=2)
    gradient = jax.grad(lambda w, x, y: 0.5 * jnp.mean((x @ w - y) ** 2))
    w = jnp.asarray(W)
    state, seen = tx.init(w), []
    for rows in (slice(0, 2), slice(2, 4)):
        updates, state = tx.update(gradient(w, X[rows], Y[rows]), state, w)
        w = optax.apply_updates(w, updates)
        seen.append(w)

    check("after the first half")(lambda: seen[0])
    check("after both")(lambda: seen[1])


def tensorflow(check):
    import tensorflow as tf

    w = tf.Variable(W)
    optimizer = tf.keras.optimizers.SGD(RATE, gradient_accumulation_steps=2)

    def step(rows):
        with tf.GradientTape() as tape:
            errors = tf.linalg.matvec(X[rows], w) - Y[rows]
            loss = 0.5 * tf.reduce_mean(errors**2)
        optimizer.apply_gradients([(tape.gradient(loss, w), w)])
        return w.numpy()

    check("after the first half")(lambda: step(slice(0, 2)))
    check("after both")(lambda: step(slice(2, 4)))


def keras(check):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([W[:, None]])
    # Of half the mean square the gradient is half that of the mean square.
    model.compile(keras.optimizers.SGD(RATE / 2, gradient_accumulation_steps=2), "mse")

    def step(rows):
        model.train_on_batch(X[rows], Y[rows, None])
        return model.get_weights()[0][:, 0]

    check("after the first half")(lambda: step(slice(0, 2)))
    check("after both")(lambda: step(slice(2, 4)))


def paddle(check):
    import paddle

    x, y = paddle.to_tensor(X), paddle.to_tensor(Y)
    w = paddle.create_parameter([2], "float32")
    w.set_value(W)
    optimizer = paddle.optimizer.SGD(RATE, parameters=[w])

    # backward() adds to the gradients that are there.
    def backward(rows):
        (0.5 * ((paddle.mv(x[rows], w) - y[rows]) ** 2).mean() / 2).backward()

    @check("after the first half")
    def first():
        backward(slice(0, 2))
        return w.numpy()

    @check("after both")
    def both():
        backward(slice(2, 4))
        optimizer.step()
        return w.numpy()


def mxnet(check):
    from mxnet import autograd, gluon, nd

    x, y = nd.array(X), nd.array(Y)
    w = gluon.Parameter("w", shape=(2,), grad_req="add")
    w.initialize()
    w.set_data(nd.array(W))
    trainer = gluon.Trainer([w], "sgd", {"learning_rate": RATE})

    def backward(rows):
        with autograd.record():
            loss = 0.5 * ((nd.dot(x[rows], w.data()) - y[rows]) ** 2).sum()
        loss.backward()

    @check("after the first half")
    def first():
        backward(slice(0, 2))
        return w.data().asnumpy()

    @check("after both")
    def both():
        backward(slice(2, 4))
        trainer.step(4)
        return w.data().asnumpy()


def mlx(check):
    import mlx.core as mx
    from mlx import optimizers
    from mlx.utils import tree_map

    def loss(p, x, y):
        return 0.5 * ((x @ p["w"] - y) ** 2).mean()

    weights, optimizer = {"w": mx.array(W)}, optimizers.SGD(RATE)
    x, y = mx.array(X), mx.array(Y)
    total = mx.grad(loss)(weights, x[:2], y[:2])
    by_hand = "by adding the trees of gradients"

    @check("after the first half")
    def first():
        check.fallback(by_hand)
        return np.array(weights["w"])

    @check("after both")
    def both():
        check.fallback(by_hand)
        second = mx.grad(loss)(weights, x[2:], y[2:])
        mean = tree_map(lambda a, b: (a + b) / 2, total, second)
        return np.array(optimizer.apply_gradients(mean, weights)["w"])


def chainer(check):
    import chainer
    from chainer import functions, optimizers

    class Network(chainer.Link):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.w = chainer.Parameter(W[:, None].copy())

    network = Network()
    optimizer = optimizers.SGD(RATE).setup(network)
    network.cleargrads()

    # backward() adds to the gradients that are there.
    def backward(rows):
        found = functions.matmul(X[rows], network.w)[:, 0]
        (0.5 * functions.mean_squared_error(found, Y[rows]) / 2).backward()

    @check("after the first half")
    def first():
        backward(slice(0, 2))
        return network.w.array[:, 0].copy()

    @check("after both")
    def both():
        backward(slice(2, 4))
        optimizer.update()
        return network.w.array[:, 0]


def tinygrad(check):
    from tinygrad import Context, Tensor
    from tinygrad.nn.optim import SGD

    x, y, w = Tensor(X), Tensor(Y), Tensor(W.copy())
    optimizer = SGD([w], lr=RATE)

    # backward() adds to the gradients that are there.
    def backward(rows):
        (0.5 * ((x[rows] @ w - y[rows]) ** 2).mean() / 2).backward()

    @check("after the first half")
    def first():
        backward(slice(0, 2))
        return w.numpy()

    @check("after both")
    def both():
        backward(slice(2, 4))
        with Context(TRAINING=1):
            optimizer.step()
        return w.numpy()


def cntk(check):
    import cntk as C

    x, y = C.input_variable(2), C.input_variable(())
    w = C.parameter(init=W.astype("float32"))
    loss = C.square(C.reduce_sum(x * w) - y) / 2
    learner = C.sgd([w], RATE, minibatch_size=C.learners.IGNORE)
    total = []
    by_hand = "by adding up what grad gives, and the learner's update"

    def gradient(rows):
        batch = {x: X[rows].astype("float32"), y: Y[rows].astype("float32")}
        total.append(loss.grad(batch, wrt=[w]))

    @check("after the first half")
    def first():
        check.fallback(by_hand)
        gradient(slice(0, 2))
        return w.value

    @check("after both")
    def both():
        check.fallback(by_hand)
        gradient(slice(2, 4))
        learner.update({w: C.NDArrayView.from_dense(sum(total))}, len(X))
        return w.value


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    for name, array in (
        ("w", W),
        ("total", 0 * W),
        ("one", [1]),
        ("rate", [-RATE / 2]),
    ):
        workspace.FeedBlob(name, np.float32(array))
    half = core.Net("half")
    scores = half.ReduceBackSum(half.Mul(["x", "w"], 1, broadcast=1), 1)
    errors = half.Sqr(half.Sub([scores, "y"], 1), 1)
    loss = half.Scale(half.AveragedLoss(errors, 1), 1, scale=0.5)
    gradients = half.AddGradientOperators([loss])
    half.WeightedSum(["total", "one", gradients["w"], "one"], "total")
    step = core.Net("step")
    step.WeightedSum(["w", "one", "total", "rate"], "w")

    def run(rows):
        workspace.FeedBlob("x", X[rows])
        workspace.FeedBlob("y", Y[rows])
        workspace.RunNetOnce(half)

    # Two nets on one workspace: the gradients are added up in a blob.
    @check("after the first half")
    def first():
        run(slice(0, 2))
        return workspace.FetchBlob("w")

    @check("after both")
    def both():
        run(slice(2, 4))
        workspace.RunNetOnce(step)
        return workspace.FetchBlob("w")
