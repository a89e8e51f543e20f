"""Optimizes the graph by itself.

Ten pointwise operations, written one by one: one pass over the memory or ten? Is a
matrix product computed whose result is not used? Is one that is written twice computed
twice?
"""

import numpy as np

TIMEOUT = 300

LONG = np.linspace(0, 1, 2000000).astype("float32")
SQUARE = np.full((150, 150), 1 / 150, "float32")


def less_than_five(ratio):
    """Ten operations take less than five times as long as one"""
    return 0 < ratio < 5


def less_than_a_third(ratio):
    """Less than a third as long as where the product is used."""
    return 0 < ratio < 1 / 3


def less_than_one_and_a_half(ratio):
    """Written twice takes less than one and a half times as long as written once"""
    return 0 < ratio < 1.5


CHECKS = {
    "ten pointwise operations over one": less_than_five,
    "a product not used, over one used": less_than_a_third,
    "a product written twice, over once": less_than_one_and_a_half,
}


def _one(x):
    return x * 1.01


def _ten(x):
    for _ in range(5):
        x = x * 1.01 + 0.5
    return x


def _products(a):
    """Twenty products of matrices so small that they stay in the processor's cache."""
    for _ in range(20):
        a = a @ a
    return a


def _used(a):
    return _products(a)


def _unused(a):
    _products(a)
    return a + 1


def _once(a):
    product = _products(a)
    return product + product


def _twice(a):
    return _products(a) + _products(a)


def _ratios(check, compiled, long, square, wait):
    """``compiled`` makes the framework's compiled function of one in Python."""

    def over(first, second, x):
        first, second = compiled(first), compiled(second)
        wait(first(x)), wait(second(x))
        # In turns, and the shortest: what else the machine does hits both.
        taken = [9.0, 9.0]
        for _ in range(40):
            for i, function in enumerate((first, second)):
                seconds = check.seconds(lambda f=function: wait(f(x)), 1)
                taken[i] = min(taken[i], seconds)
        check.note("%.2f ms over %.2f ms" % (1000 * taken[0], 1000 * taken[1]))
        return taken[0] / taken[1]

    @check("ten pointwise operations over one")
    def pointwise():
        return over(_ten, _one, long)

    @check("a product not used, over one used")
    def unused():
        return over(_unused, _used, square)

    @check("a product written twice, over once")
    def twice():
        return over(_twice, _once, square)


def numpy(check):
    def as_it_is(function):
        return function

    _ratios(check, as_it_is, LONG, SQUARE, lambda y: y)


def pytorch(check):
    import os

    import torch

    long, square = torch.tensor(LONG), torch.tensor(SQUARE)
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with check.folder() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            _ratios(check, torch.compile, long, square, lambda y: y)
        finally:
            if before is None:
                del os.environ["TORCHINDUCTOR_CACHE_DIR"]
            else:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def jax(check):
    import jax
    import jax.numpy as jnp

    long, square = jnp.array(LONG), jnp.array(SQUARE)
    _ratios(check, jax.jit, long, square, jax.block_until_ready)


def tensorflow(check):
    import tensorflow as tf

    def compiled(function):
        return tf.function(function, jit_compile=True)

    long, square = tf.constant(LONG), tf.constant(SQUARE)
    _ratios(check, compiled, long, square, lambda y: y)


def _keras_compiled(function, **options):
    """What Keras compiles is a model: the array is its weight, a sum its output."""
    import keras

    class Layer(keras.layers.Layer):
        def build(self, shape):
            self.x = self.add_weight(
                shape=LONG.shape, initializer=lambda *_, **__: LONG, trainable=False
            )

        def call(self, inputs):
            if inputs.shape[-1] == 1:
                return inputs + keras.ops.sum(function(self.x))
            return function(inputs)

    model = keras.Sequential([Layer()])
    model.compile(**options)
    return model.predict_on_batch


def keras(check):
    def compiled(function):
        return _keras_compiled(function, jit_compile=True)

    _ratios(check, compiled, np.zeros((1, 1)), SQUARE, lambda y: y)


def keras_torch(check):
    # As Keras comes, jit_compile is off with this engine; on, it is torch.compile's.
    _ratios(check, _keras_compiled, np.zeros((1, 1)), SQUARE, lambda y: y)


def paddle(check):
    import paddle

    def compiled(function):
        return paddle.jit.to_static(function, full_graph=True)

    long, square = paddle.to_tensor(LONG), paddle.to_tensor(SQUARE)
    with paddle.no_grad():
        _ratios(check, compiled, long, square, lambda y: y)


def mlx(check):
    import mlx.core as mx

    _ratios(check, mx.compile, mx.array(LONG), mx.array(SQUARE), mx.eval)


def _symbolic(check, library, T):
    # Theano's symbols know no @.
    class Symbol:
        def __init__(self, symbol):
            self.symbol = symbol

        def __matmul__(self, other):
            return Symbol(T.dot(self.symbol, other.symbol))

        def __add__(self, other):
            return Symbol(self.symbol + getattr(other, "symbol", other))

        def __mul__(self, number):
            return Symbol(self.symbol * number)

    def compiled(function):
        kind = T.vector if function in (_one, _ten) else T.matrix
        x = kind("x", dtype="float32")
        return library.function([x], function(Symbol(x)).symbol)

    _ratios(check, compiled, LONG, SQUARE, lambda y: y)


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

    with tf.Session() as session:

        def compiled(function):
            # From a variable to a sum: what is fed and fetched would be copied.
            long = function in (_one, _ten)
            x = tf.get_local_variable(
                function.__name__[1:], initializer=tf.constant(LONG if long else SQUARE)
            )
            session.run(x.initializer)
            y = tf.reduce_sum(function(x.read_value()))
            return session.make_callable(y)

        def called(function):
            run = compiled(function)
            return lambda _: run()

        _ratios(check, called, None, None, lambda y: y)


def chainer(check):
    import chainer

    def as_it_is(function):
        def run(x):
            with chainer.no_backprop_mode():
                return function(x)

        return run

    long, square = chainer.Variable(LONG), chainer.Variable(SQUARE)
    _ratios(check, as_it_is, long, square, lambda y: y)


def mxnet(check):
    import mxnet as mx
    from mxnet import nd

    # A symbol's @ is not there: its products are linalg.gemm2.
    class Symbol:
        def __init__(self, symbol):
            self.symbol = symbol

        def __matmul__(self, other):
            return Symbol(mx.sym.linalg.gemm2(self.symbol, other.symbol))

        def __add__(self, other):
            return Symbol(self.symbol + getattr(other, "symbol", other))

        def __mul__(self, number):
            return Symbol(self.symbol * number)

    def compiled(function):
        x = nd.array(LONG if function in (_one, _ten) else SQUARE)
        graph = function(Symbol(mx.sym.var("x"))).symbol
        executor = graph.bind(mx.cpu(), {"x": x}, grad_req="null")
        return lambda _: executor.forward()[0].wait_to_read()

    _ratios(check, compiled, None, None, lambda y: y)


def cntk(check):
    import cntk as C

    # A graph whose inputs stayed as they were is not computed again: they are fed. What
    # comes out is a sum: arrays would be copied.
    def called(function):
        long = function in (_one, _ten)
        x = C.input_variable((LONG if long else SQUARE).shape)
        total = C.reduce_sum(function(x) if long else _of_matrices(x, function))
        fed = C.Value(batch=LONG[None] if long else SQUARE[None])
        return lambda _: total.eval({x: fed})

    def _of_matrices(a, function):
        def products(a):
            for _ in range(20):
                a = C.times(a, a)
            return a

        if function is _unused:
            products(a)
            return a + 1
        if function is _twice:
            return products(a) + products(a)
        product = products(a)
        return product + product if function is _once else product

    _ratios(check, called, None, None, lambda y: y)


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()

    class Blob(object):
        """A blob of a net, with the signs of Python."""

        def __init__(self, net, name):
            self.net, self.name = net, name

        def made(self, kind, other):
            names = [self.name, other.name]
            return Blob(self.net, getattr(self.net, kind)(names, 1))

        def constant(self, value):
            found = self.net.ConstantFill([], 1, shape=[1], value=float(value))
            return Blob(self.net, found)

        def __matmul__(self, other):
            return self.made("MatMul", other)

        def __mul__(self, value):
            return self.made("Mul", self.constant(value))

        def __add__(self, other):
            other = other if isinstance(other, Blob) else self.constant(other)
            return self.made("Add", other)

    workspace.FeedBlob("long", LONG)
    workspace.FeedBlob("square", SQUARE)

    def called(function):
        net = core.Net(function.__name__[1:])
        function(Blob(net, "long" if function in (_one, _ten) else "square"))
        workspace.CreateNet(net)
        return lambda _: workspace.RunNet(net)

    _ratios(check, called, None, None, lambda y: y)
