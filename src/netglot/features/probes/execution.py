"""Eager, lazy or asynchronous.

Thirty products of matrices of 300 by 300 are called for. What share of their time has
gone when the call returns? If little: is it computed meanwhile, or not before it is
asked for?
"""

import time

import numpy as np

TIMEOUT = 300

SIZE, TIMES = 300, 30
#: Its product with itself is itself; the sum of its entries is SIZE.
MEANS = np.full((SIZE, SIZE), 1.0 / SIZE, "float32")


def one_of_three(way):
    """At once, asynchronous or lazy, and not something between"""
    return way in ("at once", "asynchronous", "lazy")


CHECKS = {"when it computes": one_of_three, "the value in the end": float(SIZE)}


def _way(check, call, read):
    """How ``call()`` computes what ``read`` takes to the host; both are warm."""
    read(call())
    returned, waited, later = [], [], []
    for _ in range(5):
        begin = time.perf_counter()
        pending = call()
        returned.append(time.perf_counter() - begin)
        read(pending)
        waited.append(time.perf_counter() - begin)
    share = min(returned) / min(waited)
    check.note("%.0f %% of the time when the call returns" % (100 * share))
    if share > 0.7:
        return "at once"
    for _ in range(5):
        pending = call()
        time.sleep(3 * min(waited))
        begin = time.perf_counter()
        read(pending)
        later.append(time.perf_counter() - begin)
    left = min(later) / min(waited)
    check.note("%.0f %% to do after a pause" % (100 * left))
    if share < 0.4 and left < 0.4:
        return "asynchronous"
    return "lazy" if share < 0.4 and left > 0.6 else "unclear"


def numpy(check):
    def call():
        y = MEANS
        for _ in range(TIMES):
            y = y @ MEANS
        return y

    @check("when it computes")
    def way():
        return _way(check, call, np.sum)

    @check("the value in the end")
    def value():
        return call().sum()


def pytorch(check):
    import torch

    x = torch.tensor(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = y @ x
        return y

    @check("when it computes")
    def way():
        check.note("on a processor; a GPU's kernels are asynchronous")
        return _way(check, call, lambda y: y.sum().item())

    @check("the value in the end")
    def value():
        return call().sum().item()


def jax(check):
    import jax
    import jax.numpy as jnp

    x = jnp.array(MEANS)

    products = jax.jit(lambda x: jax.lax.fori_loop(0, TIMES, lambda i, y: y @ x, x))

    @check("when it computes")
    def way():
        return _way(check, lambda: products(x), np.asarray)

    @check("the value in the end")
    def value():
        return np.asarray(products(x)).sum()


def tensorflow(check):
    import tensorflow as tf

    x = tf.constant(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = y @ x
        return y

    @check("when it computes")
    def way():
        return _way(check, call, lambda y: y.numpy())

    @check("the value in the end")
    def value():
        return call().numpy().sum()


def keras(check):
    from keras import ops

    x = ops.convert_to_tensor(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = ops.matmul(y, x)
        return y

    @check("when it computes")
    def way():
        return _way(check, call, ops.convert_to_numpy)

    @check("the value in the end")
    def value():
        return ops.convert_to_numpy(call()).sum()


def paddle(check):
    import paddle

    x = paddle.to_tensor(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = y @ x
        return y

    @check("when it computes")
    def way():
        return _way(check, call, lambda y: y.numpy())

    @check("the value in the end")
    def value():
        return call().sum().item()


def mlx(check):
    import mlx.core as mx

    x = mx.array(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = y @ x
        return y

    @check("when it computes")
    def way():
        check.note("mx.async_eval(y) would begin at once")
        return _way(check, call, np.array)

    @check("the value in the end")
    def value():
        return np.array(call()).sum()


def _symbolic(check, library, T):
    x = T.matrix("x", dtype="float32")
    y = x
    for _ in range(TIMES):
        y = T.dot(y, x)
    products = library.function([x], y)

    @check("when it computes")
    def way():
        return _way(check, lambda: products(MEANS), np.asarray)

    @check("the value in the end")
    def value():
        return products(MEANS).sum()


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    _symbolic(check, pytensor, T)


def tensorflow1(check):
    import tensorflow as tf

    x = tf.placeholder(tf.float32, MEANS.shape)
    y = x
    for _ in range(TIMES):
        y = tf.matmul(y, x)

    with tf.Session() as session:

        @check("when it computes")
        def way():
            return _way(check, lambda: session.run(y, {x: MEANS}), np.asarray)

        @check("the value in the end")
        def value():
            return session.run(y, {x: MEANS}).sum()


def chainer(check):
    import chainer
    import chainer.functions as F

    x = chainer.Variable(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = F.matmul(y, x)
        return y

    @check("when it computes")
    def way():
        return _way(check, call, lambda y: y.array)

    @check("the value in the end")
    def value():
        return call().array.sum()


def mxnet(check):
    from mxnet import nd

    x = nd.array(MEANS)

    def call():
        y = x
        for _ in range(TIMES):
            y = nd.dot(y, x)
        return y

    @check("when it computes")
    def way():
        check.note("nd.waitall() waits")
        return _way(check, call, lambda y: y.asnumpy())

    @check("the value in the end")
    def value():
        return call().asnumpy().sum()


def dynet(check):
    import dynet as dy

    def call():
        dy.renew_cg()
        x = dy.inputTensor(MEANS)
        y = x
        for _ in range(TIMES):
            y = y * x
        return y

    @check("when it computes")
    def way():
        return _way(check, call, lambda y: y.npvalue())

    @check("the value in the end")
    def value():
        return call().npvalue().sum()


def cntk(check):
    import cntk as C

    x = C.input_variable(MEANS.shape)
    y = x
    for _ in range(TIMES):
        y = C.times(y, C.parameter(init=MEANS))

    @check("when it computes")
    def way():
        return _way(check, lambda: y.eval({x: MEANS[None]}), np.asarray)

    @check("the value in the end")
    def value():
        return y.eval({x: MEANS[None]}).sum()


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    workspace.FeedBlob("x", MEANS)
    net = core.Net("products")
    y = "x"
    for _ in range(TIMES):
        y = net.MatMul([y, "x"], 1)
    workspace.CreateNet(net)

    def call():
        workspace.RunNet(net)
        return y

    check("when it computes")(lambda: _way(check, call, workspace.FetchBlob))
    check("the value in the end")(lambda: workspace.FetchBlob(call()).sum())


def tinygrad(check):
    from tinygrad import Tensor

    x = Tensor(MEANS).realize()

    def call():
        y = x
        for _ in range(TIMES):
            y = (y @ x).contiguous()
        return y

    check("when it computes")(lambda: _way(check, call, lambda y: y.numpy()))
    check("the value in the end")(lambda: call().numpy().sum())
