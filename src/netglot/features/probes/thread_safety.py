"""Several threads of Python.

Four threads differentiate at the same time, each its own numbers, again and again; and
four threads ask one model. Every answer must be the one that a single thread gets.
"""

import threading

import numpy as np

THREADS, TURNS = 4, 25
#: Thread k has these numbers, and weights that are k + 1 times as large.
X = np.arange(12, dtype="float32").reshape(4, 3) / 8

CHECKS = {
    # The gradient of half the sum of (X w)^2 is X'X w; summed over all turns.
    "gradients": [
        (TURNS * (k + 1) * (X.T @ X @ np.ones(3))).tolist() for k in range(THREADS)
    ],
    # The model doubles; thread k asks it about X + k.
    "one model, asked by all": [
        float(TURNS * 2 * (X + k).sum()) for k in range(THREADS)
    ],
}


def _together(work):
    """What ``work(k)`` gives in thread k, summed over the turns."""
    found, faults = [0.0] * THREADS, []
    gate = threading.Barrier(THREADS)

    def run(k):
        try:
            gate.wait(30)
            for _ in range(TURNS):
                found[k] = found[k] + np.asarray(work(k), "float64")
        except BaseException as error:
            gate.abort()
            faults.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return [np.asarray(value).tolist() for value in found]


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    gradient = grad(lambda w: 0.5 * anp.sum((X @ w) ** 2))

    @check("gradients")
    def gradients():
        return _together(lambda k: gradient((k + 1) * np.ones(3)))

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: anp.sum(2 * (X + k)))


def pytorch(check):
    import torch

    x = torch.from_numpy(X)

    def gradient(k):
        w = torch.full((3,), k + 1.0, requires_grad=True)
        (0.5 * (x @ w).square().sum()).backward()
        return w.grad.numpy()

    model = torch.nn.Linear(3, 3, bias=False)
    torch.nn.init.eye_(model.weight).data.mul_(2)

    @check("gradients")
    def gradients():
        return _together(gradient)

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: model(x + k).detach().sum())


def jax(check):
    import jax
    import jax.numpy as jnp

    gradient = jax.jit(jax.grad(lambda w: 0.5 * jnp.sum((X @ w) ** 2)))
    model = jax.jit(lambda x: jnp.sum(x @ (2 * jnp.eye(3))))

    @check("gradients")
    def gradients():
        return _together(lambda k: gradient(jnp.full(3, k + 1.0)))

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: model(X + k))


def tensorflow(check):
    import tensorflow as tf

    @tf.function
    def gradient(w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            loss = 0.5 * tf.reduce_sum(tf.linalg.matvec(X, w) ** 2)
        return tape.gradient(loss, w)

    @tf.function
    def model(x):
        return tf.reduce_sum(x @ (2 * tf.eye(3)))

    @check("gradients")
    def gradients():
        return _together(lambda k: gradient(tf.fill([3], k + 1.0)))

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: model(tf.constant(X + k)))


def keras(check):
    import keras

    # Half the sum of squares over the outputs of four observations, by a step of SGD.
    def trained(k):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(1, use_bias=False)]
        )
        model.compile(
            keras.optimizers.SGD(1.0),
            loss=lambda true, found: 0.5 * keras.ops.sum((found - true) ** 2),
            jit_compile=False,
        )
        return model

    models = [trained(k) for k in range(THREADS)]

    def gradient(k):
        weights = np.full((3, 1), k + 1.0, "float32")
        models[k].set_weights([weights])
        models[k].train_on_batch(X, np.zeros((4, 1)))
        return (weights - models[k].get_weights()[0])[:, 0]

    shared = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, use_bias=False)]
    )
    shared.set_weights([2 * np.eye(3)])

    @check("gradients")
    def gradients():
        return _together(gradient)

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: keras.ops.convert_to_numpy(shared(X + k)).sum())


def paddle(check):
    import paddle

    x = paddle.to_tensor(X)

    def gradient(k):
        w = paddle.full([3], k + 1.0)
        w.stop_gradient = False
        (0.5 * (paddle.mv(x, w) ** 2).sum()).backward()
        return w.grad.numpy()

    model = paddle.nn.Linear(3, 3, bias_attr=False)
    model.weight.set_value(2 * np.eye(3, dtype="float32"))

    @check("gradients")
    def gradients():
        return _together(gradient)

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: model(x + k).sum().item())


def mxnet(check):
    from mxnet import nd

    # In a process of its own: what is recorded is shared, and others take it away.
    @check("gradients", refused_by=(RuntimeError,))
    def gradients():
        told = check.python(
            """
            import sys
            from importlib.machinery import SourceFileLoader
            from mxnet import autograd, nd
            probe = SourceFileLoader("probe", sys.argv[1]).load_module()
            x = nd.array(probe.X)

            def gradient(k):
                w = nd.full((3,), k + 1)
                w.attach_grad()
                with autograd.record():
                    loss = 0.5 * (nd.dot(x, w) ** 2).sum()
                loss.backward()
                return w.grad.asnumpy()

            for found in probe._together(gradient):
                print(*found)
            """,
            __file__,
        )
        return [[float(n) for n in line.split()] for line in told.splitlines()]

    x, double = nd.array(X), 2 * nd.array(np.eye(3))

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: nd.dot(x + k, double).sum().asscalar())


def mlx(check):
    import mlx.core as mx

    x, double = mx.array(X), 2 * mx.eye(3)
    mx.eval(x, double)
    gradient = mx.grad(lambda w: 0.5 * ((x @ w) ** 2).sum())
    refused = (RuntimeError,)

    @check("gradients", refused)
    def gradients():
        return _together(lambda k: np.array(gradient(mx.full(3, k + 1.0))))

    @check("one model, asked by all", refused)
    def asked():
        return _together(lambda k: ((x + k) @ double).sum().item())


def chainer(check):
    import chainer
    from chainer import functions

    def gradient(k):
        w = chainer.Variable(np.full(3, k + 1, "float32"))
        (0.5 * functions.sum(functions.matmul(X, w) ** 2)).backward()
        return w.grad

    model = chainer.links.Linear(3, 3, nobias=True, initialW=2 * np.eye(3, dtype="f"))

    @check("gradients")
    def gradients():
        return _together(gradient)

    @check("one model, asked by all")
    def asked():
        return _together(lambda k: functions.sum(model(X + k)).array)


def cntk(check):
    import cntk as C

    # A function belongs to one thread: each has its own.
    x = X.astype("float32")

    @check("gradients")
    def gradients():
        parts = []
        for _ in range(THREADS):
            row, w = C.input_variable(3), C.parameter(3)
            parts.append((row, w, C.square(C.reduce_sum(row * w)) / 2))

        def gradient(k):
            row, w, loss = parts[k]
            w.value = np.full(3, k + 1, "float32")
            return loss.grad({row: x}, wrt=[w])

        return _together(gradient)

    row = C.input_variable(3)
    double = C.times(row, C.constant(2 * np.eye(3, dtype="float32")))

    # "This Value object is invalid": another thread has computed in between.
    @check("one model, asked by all", refused_by=(RuntimeError,))
    def asked():
        return _together(lambda k: double.eval({row: x + np.float32(k)}).sum())


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    # Blobs have names: each thread has its own.
    nets = []
    for k in range(THREADS):
        names = "x%d" % k, "w%d" % k
        workspace.FeedBlob(names[0], X)
        workspace.FeedBlob(names[1], np.full((3, 1), k + 1, "float32"))
        net = core.Net("loss%d" % k)
        squares = net.Sqr(net.MatMul(names, 1), 1)
        loss = net.Scale(net.SumElements(squares, 1), 1, scale=0.5)
        gradients = net.AddGradientOperators([loss])
        workspace.CreateNet(net)
        nets.append((net, gradients[names[1]]))

    @check("gradients")
    def gradients():
        def gradient(k):
            net, found = nets[k]
            workspace.RunNet(net)
            return workspace.FetchBlob(found).ravel()

        return _together(gradient)

    # One net has one input: threads feed it over one another.
    net = core.Net("double")
    workspace.FeedBlob("x", X)
    total = net.SumElements(net.Scale("x", 1, scale=2.0), 1)
    workspace.CreateNet(net)

    @check("one model, asked by all")
    def asked():
        def ask(k):
            workspace.FeedBlob("x", X + np.float32(k))
            workspace.RunNet(net)
            return float(workspace.FetchBlob(total))

        return _together(ask)
