"""Forward-mode differentiation.

Is there a derivative along a direction, in one pass beside the value, by rules of its
own and not by differentiating twice in reverse?
"""

import numpy as np

X = np.array([0.5, -1.0, 2.0])
DIRECTION = np.array([1.0, 0.3, -2.0])

# f(x) = (x0 x1, sin(x1) x2, exp(x0 x2), x2 x2), differentiated by hand.
VALUE = np.array([X[0] * X[1], np.sin(X[1]) * X[2], np.exp(X[0] * X[2]), X[2] ** 2])
JACOBIAN = np.array(
    [
        [X[1], X[0], 0],
        [0, np.cos(X[1]) * X[2], np.sin(X[1])],
        [X[2] * np.exp(X[0] * X[2]), 0, X[0] * np.exp(X[0] * X[2])],
        [0, 0, 2 * X[2]],
    ]
)

CHECKS = {
    "along a direction": np.stack([VALUE, JACOBIAN @ DIRECTION]),
    "the whole Jacobian": JACOBIAN,
    # of sum(x ** 3), by a direction through the reverse gradient
    "forward over reverse": 6 * X * DIRECTION,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad, make_jvp

    def function(x):
        return anp.array(
            [x[0] * x[1], anp.sin(x[1]) * x[2], anp.exp(x[0] * x[2]), x[2] ** 2]
        )

    @check("along a direction")
    def direction():
        return make_jvp(function)(X)(DIRECTION)

    @check("the whole Jacobian")
    def jacobian():
        return anp.stack([make_jvp(function)(X)(column)[1] for column in np.eye(3)], 1)

    @check("forward over reverse")
    def hessian():
        return make_jvp(grad(lambda x: anp.sum(x**3)))(X)(DIRECTION)[1]


def pytorch(check):
    import torch
    from torch.func import grad, jacfwd, jvp

    x, direction = torch.tensor(X), torch.tensor(DIRECTION)

    def function(x):
        return torch.stack(
            [x[0] * x[1], x[1].sin() * x[2], (x[0] * x[2]).exp(), x[2] ** 2]
        )

    @check("along a direction")
    def along():
        return torch.stack(jvp(function, (x,), (direction,)))

    @check("the whole Jacobian")
    def jacobian():
        return jacfwd(function)(x)

    @check("forward over reverse")
    def hessian():
        return jvp(grad(lambda x: (x**3).sum()), (x,), (direction,))[1]


def jax(check):
    import jax
    import jax.numpy as jnp

    x, direction = jnp.array(X), jnp.array(DIRECTION)

    def function(x):
        return jnp.stack(
            [x[0] * x[1], jnp.sin(x[1]) * x[2], jnp.exp(x[0] * x[2]), x[2] ** 2]
        )

    @check("along a direction")
    def along():
        return jnp.stack(jax.jvp(function, (x,), (direction,)))

    @check("the whole Jacobian")
    def jacobian():
        return jax.jacfwd(function)(x)

    @check("forward over reverse")
    def hessian():
        return jax.jvp(jax.grad(lambda x: jnp.sum(x**3)), (x,), (direction,))[1]


def tensorflow(check):
    import tensorflow as tf
    from tensorflow.autodiff import ForwardAccumulator

    x, direction = tf.constant(X), tf.constant(DIRECTION)

    def function(x):
        return tf.stack(
            [x[0] * x[1], tf.sin(x[1]) * x[2], tf.exp(x[0] * x[2]), x[2] ** 2]
        )

    @check("along a direction")
    def along():
        with ForwardAccumulator(x, direction) as forward:
            y = function(x)
        return tf.stack([y, forward.jvp(y)])

    @check("the whole Jacobian")
    def jacobian():
        columns = []
        for column in tf.eye(3, dtype=tf.float64):
            with ForwardAccumulator(x, column) as forward:
                y = function(x)
            columns.append(forward.jvp(y))
        return tf.stack(columns, axis=1)

    @check("forward over reverse")
    def hessian():
        with ForwardAccumulator(x, direction) as forward:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(x**3)
            gradient = tape.gradient(y, x)
        return forward.jvp(gradient)


def _keras_cubes():
    """The gradient of sum(x ** 3) by the engine of Keras."""
    import keras

    def function(x):
        return keras.ops.sum(x**3)

    engine = keras.backend.backend()
    if engine == "jax":
        import jax

        return jax.grad(function)
    if engine == "torch":
        import torch

        return torch.func.grad(function)
    import tensorflow as tf

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    return gradient


def keras(check):
    from keras import ops

    x = ops.convert_to_tensor(X, "float32")
    direction = ops.convert_to_tensor(DIRECTION, "float32")

    def function(x):
        return ops.stack(
            [x[0] * x[1], ops.sin(x[1]) * x[2], ops.exp(x[0] * x[2]), x[2] ** 2]
        )

    @check("along a direction")
    def along():
        return ops.convert_to_numpy(ops.stack(ops.jvp(function, (x,), (direction,))))

    @check("the whole Jacobian")
    def jacobian():
        columns = [ops.jvp(function, (x,), (column,))[1] for column in ops.eye(3)]
        return ops.convert_to_numpy(ops.stack(columns, axis=1))

    @check("forward over reverse")
    def hessian():
        check.fallback("the reverse gradient is the engine's: Keras has none")
        return ops.convert_to_numpy(ops.jvp(_keras_cubes(), (x,), (direction,))[1])


def paddle(check):
    import paddle
    from paddle.incubate.autograd import jvp

    x, direction = paddle.to_tensor(X), paddle.to_tensor(DIRECTION)

    def function(x):
        return paddle.stack(
            [x[0] * x[1], paddle.sin(x[1]) * x[2], paddle.exp(x[0] * x[2]), x[2] ** 2]
        )

    twice = "paddle.incubate.autograd.jvp differentiates twice in reverse"

    # Its rule for the sine, twice in reverse, asks for a gradient that nobody wants.
    @check("along a direction", refused_by=(RuntimeError,))
    def along():
        check.fallback(twice)
        return paddle.stack(jvp(function, x, direction)).numpy()

    @check("the whole Jacobian", refused_by=(RuntimeError,))
    def jacobian():
        check.fallback(twice)
        columns = [
            jvp(function, x, column)[1] for column in paddle.eye(3, dtype=x.dtype)
        ]
        return paddle.stack(columns, 1).numpy()

    @check("forward over reverse")
    def hessian():
        check.fallback("reverse over reverse")
        x = paddle.to_tensor(X, stop_gradient=False)
        (gradient,) = paddle.grad((x**3).sum(), x, create_graph=True)
        (along,) = paddle.grad((gradient * direction).sum(), x)
        return along.numpy()


def mlx(check):
    import mlx.core as mx

    x, direction = mx.array(X), mx.array(DIRECTION)

    def function(x):
        return mx.stack(
            [x[0] * x[1], mx.sin(x[1]) * x[2], mx.exp(x[0] * x[2]), x[2] ** 2]
        )

    def along(function, column):
        """The value and its derivative along a direction."""
        (value,), (derivative,) = mx.jvp(function, [x], [column])
        return value, derivative

    @check("along a direction")
    def one():
        return np.array(mx.stack(along(function, direction)))

    @check("the whole Jacobian")
    def jacobian():
        columns = [along(function, column)[1] for column in mx.eye(3)]
        return np.array(mx.stack(columns, axis=1))

    @check("forward over reverse")
    def hessian():
        return np.array(along(mx.grad(lambda x: mx.sum(x**3)), direction)[1])


def _symbolic(check, library, T, pushed):
    x, v = T.vector("x", dtype="float64"), T.vector("v", dtype="float64")
    y = T.stack([x[0] * x[1], T.sin(x[1]) * x[2], T.exp(x[0] * x[2]), x[2] ** 2])
    along = library.function([x, v], [y, pushed(y, x, v)], mode="FAST_COMPILE")

    @check("along a direction")
    def one():
        return along(X, DIRECTION)

    @check("the whole Jacobian")
    def jacobian():
        return np.stack([along(X, column)[1] for column in np.eye(3)], 1)

    @check("forward over reverse")
    def hessian():
        gradient = library.grad(T.sum(x**3), x)
        product = pushed(gradient, x, v)
        return library.function([x, v], product, mode="FAST_COMPILE")(X, DIRECTION)


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T, T.Rop)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.gradient import pushforward

    def pushed(y, x, v):
        return pushforward(y, x, v, use_op_pushforward=True)

    _symbolic(check, pytensor, T, pushed)


def tensorflow1(check):
    import tensorflow as tf

    x, v = tf.placeholder(tf.float64, 3), tf.placeholder(tf.float64, 3)

    def pushed(y, x, v):
        """By two gradients in reverse, the second by what the first is weighed with."""
        u = tf.zeros_like(y)
        return tf.gradients(tf.gradients(y, x, u), u, v)[0]

    y = tf.stack([x[0] * x[1], tf.sin(x[1]) * x[2], tf.exp(x[0] * x[2]), x[2] ** 2])
    along = tf.stack([y, pushed(y, x, v)])
    product = pushed(tf.gradients(tf.reduce_sum(x**3), x)[0], x, v)
    twice = "by differentiating twice in reverse"

    def run(graph, direction):
        with tf.Session() as session:
            return session.run(graph, {x: X, v: direction})

    @check("along a direction")
    def one():
        check.fallback(twice)
        return run(along, DIRECTION)

    @check("the whole Jacobian")
    def jacobian():
        check.fallback(twice)
        return np.stack([run(along, column)[1] for column in np.eye(3)], 1)

    @check("forward over reverse")
    def hessian():
        check.fallback(twice)
        return run(product, DIRECTION)


def chainer(check):
    check.nothing("Chainer's functions have rules for the way back only", "chainer.jvp")


def mxnet(check):
    check.nothing(
        "MXNet's operators have rules for the way back only", "mxnet.autograd.jvp"
    )


def dynet(check):
    check.nothing("DyNet's nodes have rules for the way back only", "dynet.jvp")


def keras2(check):
    check.nothing("Keras 2 has K.gradients, in reverse", "keras.backend.jvp")


def cntk(check):
    check.nothing(
        "CNTK's functions have rules for the way back only", "cntk.Function.jvp"
    )


def caffe2(check):
    check.nothing(
        "operators have gradients for the way back only",
        "caffe2.python.core.Net.AddForwardGradientOperators",
    )


def tinygrad(check):
    check.nothing(
        "tinygrad's operations have rules for the way back only", "tinygrad.Tensor.jvp"
    )
