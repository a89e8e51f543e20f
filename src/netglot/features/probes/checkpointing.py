"""Recomputation instead of memory.

A block of a network whose intermediate values are not kept for the way back but
computed again. How often does the block run in one gradient, and is that the same?
"""

import numpy as np

X = np.array([0.3, -0.7, 1.1])
_T = np.tanh(np.sin(X) * 2)

# of the sum of tanh(2 sin(x)) squared
GRADIENT = 2 * _T * (1 - _T**2) * 2 * np.cos(X)


def twice_or_more(runs):
    """At least a second time, on the way back."""
    return runs in (2, 3)


CHECKS = {
    "the same gradient": GRADIENT,
    "how often the block runs without it": 1,
    "how often it runs with it": twice_or_more,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import checkpoint, grad

    runs = []

    def block(x):
        runs.append(1)
        return anp.tanh(anp.sin(x) * 2)

    def gradient(block):
        del runs[:]
        return grad(lambda x: anp.sum(block(x) ** 2))(X)

    @check("the same gradient")
    def same():
        return gradient(checkpoint(block))

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(checkpoint(block))
        return len(runs)


def pytorch(check):
    import torch
    from torch.utils.checkpoint import checkpoint

    runs = []

    def block(x):
        runs.append(1)
        return torch.tanh(torch.sin(x) * 2)

    def gradient(function):
        runs.clear()
        x = torch.tensor(X, requires_grad=True)
        (function(x) ** 2).sum().backward()
        return x.grad

    def recomputed(x):
        return checkpoint(block, x, use_reentrant=False)

    @check("the same gradient")
    def same():
        return gradient(recomputed)

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(recomputed)
        return len(runs)


def jax(check):
    import jax
    import jax.numpy as jnp

    def block(x):
        return jnp.tanh(jnp.sin(x) * 2)

    def gradient(block):
        return jax.grad(lambda x: jnp.sum(block(x) ** 2))

    def runs(block):
        """How often the program of the gradient has the block's sine."""
        return str(jax.make_jaxpr(gradient(block))(X)).count("= sin ")

    recomputed = jax.checkpoint(block)

    @check("the same gradient")
    def same():
        return gradient(recomputed)(X)

    @check("how often the block runs without it")
    def without():
        return runs(block)

    @check("how often it runs with it")
    def again():
        return runs(recomputed)


def tensorflow(check):
    import tensorflow as tf

    runs = []

    def block(x):
        runs.append(1)
        return tf.tanh(tf.sin(x) * 2)

    def gradient(function):
        runs.clear()
        x = tf.Variable(X)
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(function(x) ** 2)
        return tape.gradient(y, x)

    # The pass without a gradient is the first, the one on the way back the second.
    recomputed = tf.recompute_grad(block)

    @check("the same gradient")
    def same():
        return gradient(recomputed)

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(recomputed)
        return len(runs)


def keras(check):
    import keras
    from keras import ops

    runs = []

    class Block(keras.layers.Layer):
        """Weights x; what one step of descent takes off them is the gradient."""

        def build(self, shape):
            self.x = self.add_weight(shape=X.shape, initializer=lambda *_, **__: X)

        def call(self, inputs):
            runs.append(1)
            return ops.tanh(ops.sin(self.x) * 2) + 0 * inputs

    def gradient(scope):
        with scope:
            model = keras.Sequential([keras.Input((3,)), Block()])
        model.compile(
            keras.optimizers.SGD(1.0), lambda y, s: ops.sum(s**2), run_eagerly=True
        )
        model.train_on_batch(np.zeros((1, 3)), np.zeros((1, 3)))
        gradient = X - model.get_weights()[0]
        # The first step has built the model as well: the second counts.
        del runs[:]
        model.train_on_batch(np.zeros((1, 3)), np.zeros((1, 3)))
        return gradient

    @check("the same gradient")
    def same():
        return gradient(keras.RematScope("full"))

    @check("how often the block runs without it")
    def without():
        gradient(keras.RematScope(None))
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(keras.RematScope("full"))
        return len(runs)


def paddle(check):
    import paddle
    from paddle.distributed.fleet.utils import recompute

    runs = []

    def block(x):
        runs.append(1)
        return paddle.tanh(paddle.sin(x) * 2)

    def gradient(function):
        del runs[:]
        x = paddle.to_tensor(X, stop_gradient=False)
        (function(x) ** 2).sum().backward()
        return x.grad.numpy()

    @check("the same gradient")
    def same():
        return gradient(lambda x: recompute(block, x))

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(lambda x: recompute(block, x))
        return len(runs)


def mlx(check):
    import mlx.core as mx

    runs = []

    def block(x):
        runs.append(1)
        return mx.tanh(mx.sin(x) * 2)

    def gradient(block):
        del runs[:]
        return np.array(mx.grad(lambda x: mx.sum(block(x) ** 2))(mx.array(X)))

    @check("the same gradient")
    def same():
        return gradient(mx.checkpoint(block))

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(mx.checkpoint(block))
        return len(runs)


def theano(check):
    import theano

    for name in CHECKS:

        @check(name)
        def nothing():
            # scan_checkpoints recomputes the turns of a loop, and nothing else.
            if not hasattr(theano, "scan_checkpoints"):
                check.lacks("theano.scan_checkpoints", "not even of a loop")
            check.lacks(
                "theano.checkpoint", "only the turns of a loop: scan_checkpoints"
            )


def pytensor(check):
    check.nothing(
        "only the turns of a loop: scan_checkpoints", "pytensor.gradient.checkpoint"
    )


def keras_jax(check):
    import jax
    import keras
    from keras import ops

    def block(x):
        return ops.tanh(ops.sin(x) * 2)

    def gradient(block):
        return jax.grad(lambda x: ops.sum(block(x) ** 2))

    def runs(block):
        """How often the program of the gradient has the block's sine."""
        return str(jax.make_jaxpr(gradient(block))(X)).count("= sin ")

    # keras.RematScope does this to a model's layers.
    recomputed = keras.remat(block)

    @check("the same gradient")
    def same():
        return gradient(recomputed)(X)

    @check("how often the block runs without it")
    def without():
        return runs(block)

    @check("how often it runs with it")
    def again():
        return runs(recomputed)


def tensorflow1(check):
    import tensorflow as tf

    def graph(recompute):
        made = tf.Graph()
        with made.as_default():
            x = tf.constant(X)

            def block(x):
                return tf.tanh(tf.sin(x, name="sine") * 2)

            if recompute:
                block = tf.contrib.layers.recompute_grad(block)
            (gradient,) = tf.gradients(tf.reduce_sum(block(x) ** 2), x)
            sines = [o for o in made.get_operations() if o.type == "Sin"]
            with tf.Session() as session:
                return session.run(gradient), len(sines)

    @check("the same gradient")
    def same():
        return graph(True)[0]

    @check("how often the block runs without it")
    def without():
        return graph(False)[1]

    @check("how often it runs with it")
    def again():
        check.note("sines in the graph")
        return graph(True)[1]


def chainer(check):
    import chainer
    import chainer.functions as F

    runs = []

    def block(x):
        runs.append(1)
        return F.tanh(F.sin(x) * 2)

    def gradient(function):
        del runs[:]
        x = chainer.Variable(X)
        F.sum(function(x) ** 2).backward()
        return x.grad

    def recomputed(x):
        return F.forget(block, x)

    @check("the same gradient")
    def same():
        return gradient(recomputed)

    @check("how often the block runs without it")
    def without():
        gradient(block)
        return len(runs)

    @check("how often it runs with it")
    def again():
        gradient(recomputed)
        return len(runs)


def mxnet(check):
    check.nothing(
        "MXNet mirrors by a variable of the whole process (MXNET_BACKWARD_DO_MIRROR)",
        "mxnet.autograd.checkpoint",
    )


def dynet(check):
    check.nothing("DyNet keeps every value of the graph", "dynet.recompute")


def keras2(check):
    check.nothing("Keras 2 keeps what its engine keeps", "keras.backend.recompute_grad")


def cntk(check):
    check.nothing(
        "every value of a graph is kept for its way back", "cntk.Function.recompute"
    )


def caffe2(check):
    check.nothing(
        "memory is shared by memonger, and nothing computed again",
        "caffe2.python.memonger.recompute",
    )
