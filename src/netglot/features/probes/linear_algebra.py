"""Linear algebra with gradients.

Decompositions of a matrix of 3 by 3, and the gradient of a weighted sum of what they
give: values and gradients as central differences have them.
"""

import numpy as np

B = np.array([[1.2, -0.3, 0.5], [0.4, 0.9, -0.7], [-0.6, 0.2, 1.5]])
RIGHT = np.array([1.0, -2.0, 0.5])
WEIGHTS = np.array([[1.0, -0.4, 0.3], [0.2, 0.8, -0.5], [0.6, 0.1, -0.9]])


def _symmetric(b):
    """Positive definite, and differentiated by all of b: no convention is needed."""
    return b @ b.T + np.eye(3)


FUNCTIONS = {
    "solve": lambda b: np.sum(RIGHT[::-1] * np.linalg.solve(b, RIGHT)),
    "inverse": lambda b: np.sum(WEIGHTS * np.linalg.inv(b)),
    "log determinant": lambda b: np.linalg.slogdet(b)[1],
    "Cholesky": lambda b: np.sum(WEIGHTS * np.linalg.cholesky(_symmetric(b))),
    # of a symmetric matrix, ascending
    "eigenvalues": lambda b: np.sum(RIGHT * np.linalg.eigvalsh(_symmetric(b))),
    # descending
    "singular values": lambda b: np.sum(RIGHT * np.linalg.svd(b)[1]),
}


def _with_gradient(function):
    found = [function(B)]
    for at in np.ndindex(3, 3):
        step = np.zeros((3, 3))
        step[at] = 1e-5
        found.append((function(B + step) - function(B - step)) / 2e-5)
    return np.array(found)


CHECKS = {name: _with_gradient(function) for name, function in FUNCTIONS.items()}


def _asked(check, functions, with_gradient, refused_by=()):
    """One check per function; ``with_gradient`` gives its value and its gradient."""
    for name in CHECKS:

        @check(name, refused_by=refused_by)
        def one(name=name):
            value, gradient = with_gradient(functions[name])
            return np.append(np.asarray(value), np.asarray(gradient))


def numpy(check):
    import autograd.numpy as anp
    from autograd import value_and_grad

    def symmetric(b):
        return anp.dot(b, b.T) + anp.eye(3)

    functions = {
        "solve": lambda b: anp.sum(RIGHT[::-1] * anp.linalg.solve(b, RIGHT)),
        "inverse": lambda b: anp.sum(WEIGHTS * anp.linalg.inv(b)),
        "log determinant": lambda b: anp.linalg.slogdet(b)[1],
        "Cholesky": lambda b: anp.sum(WEIGHTS * anp.linalg.cholesky(symmetric(b))),
        "eigenvalues": lambda b: anp.sum(RIGHT * anp.linalg.eigh(symmetric(b))[0]),
        "singular values": lambda b: anp.sum(
            RIGHT * anp.linalg.svd(b, full_matrices=False)[1]
        ),
    }
    _asked(check, functions, lambda function: value_and_grad(function)(B))


def pytorch(check):
    import torch
    from torch import linalg

    right, weights = torch.tensor(RIGHT), torch.tensor(WEIGHTS)

    def symmetric(b):
        return b @ b.T + torch.eye(3, dtype=b.dtype)

    functions = {
        "solve": lambda b: (right.flip(0) * linalg.solve(b, right)).sum(),
        "inverse": lambda b: (weights * linalg.inv(b)).sum(),
        "log determinant": lambda b: linalg.slogdet(b).logabsdet,
        "Cholesky": lambda b: (weights * linalg.cholesky(symmetric(b))).sum(),
        "eigenvalues": lambda b: (right * linalg.eigvalsh(symmetric(b))).sum(),
        "singular values": lambda b: (right * linalg.svdvals(b)).sum(),
    }

    def with_gradient(function):
        b = torch.tensor(B, requires_grad=True)
        value = function(b)
        value.backward()
        return value.detach(), b.grad

    _asked(check, functions, with_gradient)


def jax(check):
    import jax
    import jax.numpy as jnp
    from jax.numpy import linalg

    def symmetric(b):
        return b @ b.T + jnp.eye(3)

    functions = {
        "solve": lambda b: jnp.sum(RIGHT[::-1] * linalg.solve(b, RIGHT)),
        "inverse": lambda b: jnp.sum(WEIGHTS * linalg.inv(b)),
        "log determinant": lambda b: linalg.slogdet(b)[1],
        "Cholesky": lambda b: jnp.sum(WEIGHTS * linalg.cholesky(symmetric(b))),
        "eigenvalues": lambda b: jnp.sum(RIGHT * linalg.eigvalsh(symmetric(b))),
        "singular values": lambda b: jnp.sum(RIGHT * linalg.svd(b, compute_uv=False)),
    }

    def with_gradient(function):
        with jax.enable_x64(True):
            return jax.jit(jax.value_and_grad(function))(B)

    _asked(check, functions, with_gradient)


def tensorflow(check):
    import tensorflow as tf
    from tensorflow import linalg

    def symmetric(b):
        return tf.matmul(b, b, transpose_b=True) + tf.eye(3, dtype=b.dtype)

    def weighed(weights, values):
        return tf.reduce_sum(weights * values)

    functions = {
        "solve": lambda b: weighed(RIGHT[::-1, None], linalg.solve(b, RIGHT[:, None])),
        "inverse": lambda b: weighed(WEIGHTS, linalg.inv(b)),
        "log determinant": lambda b: linalg.slogdet(b)[1],
        "Cholesky": lambda b: weighed(WEIGHTS, linalg.cholesky(symmetric(b))),
        "eigenvalues": lambda b: weighed(RIGHT, linalg.eigvalsh(symmetric(b))),
        "singular values": lambda b: weighed(RIGHT, linalg.svd(b, compute_uv=False)),
    }

    def with_gradient(function):
        b = tf.Variable(B)
        with tf.GradientTape() as tape:
            value = function(b)
        return value, tape.gradient(value, b)

    _asked(check, functions, with_gradient)


def keras(check):
    import keras
    from keras import ops
    from keras.ops import linalg

    class Weighed(keras.layers.Layer):
        """Weights b; what one step of descent takes off them is the gradient."""

        def __init__(self, function):
            super().__init__()
            self.function = function

        def build(self, shape):
            self.b = self.add_weight(shape=(3, 3), initializer=lambda *_, **__: B)

        def call(self, inputs):
            return inputs + self.function(self.b)

    def symmetric(b):
        return ops.matmul(b, ops.transpose(b)) + ops.eye(3, dtype=b.dtype)

    def weighed(weights, values):
        return ops.sum(ops.multiply(ops.cast(weights, values.dtype), values))

    functions = {
        "solve": lambda b: weighed(
            RIGHT[::-1, None], linalg.solve(b, ops.cast(RIGHT[:, None], b.dtype))
        ),
        "inverse": lambda b: weighed(WEIGHTS, linalg.inv(b)),
        "log determinant": lambda b: ops.slogdet(b)[1],
        "Cholesky": lambda b: weighed(WEIGHTS, linalg.cholesky(symmetric(b))),
        "eigenvalues": lambda b: weighed(RIGHT, linalg.eigh(symmetric(b))[0]),
        "singular values": lambda b: weighed(RIGHT, linalg.svd(b, compute_uv=False)),
    }

    def with_gradient(function):
        model = keras.Sequential([keras.Input((1,)), Weighed(function)])
        model.compile(keras.optimizers.SGD(1.0), lambda y, value: ops.sum(value))
        value = model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
        return value, B - model.get_weights()[0]

    _asked(check, functions, with_gradient)


def paddle(check):
    import paddle
    from paddle import linalg

    right, weights = paddle.to_tensor(RIGHT), paddle.to_tensor(WEIGHTS)

    wanted = paddle.to_tensor(RIGHT, stop_gradient=False)

    def symmetric(b):
        return b @ b.T + paddle.eye(3, dtype=b.dtype)

    functions = {
        # Its gradient is garbage or a crash where the right side wants none.
        "solve": lambda b: (right.flip(0) * linalg.solve(b, wanted)).sum(),
        "inverse": lambda b: (weights * linalg.inv(b)).sum(),
        "log determinant": lambda b: linalg.slogdet(b)[1],
        "Cholesky": lambda b: (weights * linalg.cholesky(symmetric(b))).sum(),
        "eigenvalues": lambda b: (right * linalg.eigvalsh(symmetric(b))).sum(),
        "singular values": lambda b: (right * linalg.svd(b)[1]).sum(),
    }

    def with_gradient(function):
        b = paddle.to_tensor(B, stop_gradient=False)
        value = function(b)
        value.backward()
        return value.numpy(), b.grad.numpy()

    _asked(check, functions, with_gradient)


def mlx(check):
    import mlx.core as mx
    from mlx.core import linalg

    right, weights = mx.array(RIGHT), mx.array(WEIGHTS)
    cpu = mx.cpu

    def symmetric(b):
        return b @ b.T + mx.eye(3)

    functions = {
        "solve": lambda b: mx.sum(right[::-1] * linalg.solve(b, right, stream=cpu)),
        "inverse": lambda b: mx.sum(weights * linalg.inv(b, stream=cpu)),
        "log determinant": lambda b: linalg.slogdet(b, stream=cpu)[1],
        "Cholesky": lambda b: mx.sum(
            weights * linalg.cholesky(symmetric(b), stream=cpu)
        ),
        "eigenvalues": lambda b: mx.sum(
            right * linalg.eigvalsh(symmetric(b), stream=cpu)
        ),
        "singular values": lambda b: mx.sum(
            right * linalg.svd(b, compute_uv=False, stream=cpu)
        ),
    }

    def with_gradient(function):
        return map(np.array, mx.value_and_grad(function)(mx.array(B)))

    _asked(check, functions, with_gradient, refused_by=(ValueError,))


def _symbolic(
    check, library, T, solve, inverse, logdet, cholesky, eigenvalues, singular
):
    def symmetric(b):
        return T.dot(b, b.T) + np.eye(3)

    functions = {
        "solve": lambda b: T.sum(RIGHT[::-1] * solve(b, RIGHT)),
        "inverse": lambda b: T.sum(WEIGHTS * inverse(b)),
        "log determinant": logdet,
        "Cholesky": lambda b: T.sum(WEIGHTS * cholesky(symmetric(b))),
        "eigenvalues": lambda b: T.sum(RIGHT * eigenvalues(symmetric(b))),
        "singular values": lambda b: T.sum(RIGHT * singular(b)),
    }

    def with_gradient(function):
        b = T.matrix("b", dtype="float64")
        value = function(b)
        graph = [value, library.grad(value, b)]
        return library.function([b], graph, mode="FAST_COMPILE")(B)

    # Theano's SVD has no gradient at all, not even one that says so.
    refusals = (NotImplementedError, AttributeError)
    _asked(check, functions, with_gradient, refused_by=refusals)


def theano(check):
    import theano
    import theano.tensor as T
    from theano.tensor import nlinalg, slinalg

    _symbolic(
        check,
        theano,
        T,
        slinalg.solve,
        nlinalg.matrix_inverse,
        lambda b: T.log(abs(nlinalg.det(b))),
        slinalg.cholesky,
        lambda b: nlinalg.eigh(b)[0],
        lambda b: nlinalg.svd(b, full_matrices=False, compute_uv=False),
    )


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.tensor import linalg

    _symbolic(
        check,
        pytensor,
        T,
        linalg.solve,
        linalg.inv,
        lambda b: linalg.slogdet(b)[1],
        linalg.cholesky,
        lambda b: linalg.eigh(b)[0],
        lambda b: linalg.svd(b, full_matrices=False, compute_uv=False),
    )


def tensorflow1(check):
    import tensorflow as tf
    from tensorflow import linalg

    def symmetric(b):
        return tf.matmul(b, b, transpose_b=True) + tf.eye(3, dtype=b.dtype)

    def weighed(weights, values):
        return tf.reduce_sum(weights * values)

    functions = {
        "solve": lambda b: weighed(RIGHT[::-1, None], linalg.solve(b, RIGHT[:, None])),
        "inverse": lambda b: weighed(WEIGHTS, linalg.inv(b)),
        "log determinant": lambda b: linalg.slogdet(b)[1],
        "Cholesky": lambda b: weighed(WEIGHTS, linalg.cholesky(symmetric(b))),
        "eigenvalues": lambda b: weighed(RIGHT, linalg.eigvalsh(symmetric(b))),
        "singular values": lambda b: weighed(RIGHT, linalg.svd(b, compute_uv=False)),
    }

    def with_gradient(function):
        b = tf.constant(B)
        value = function(b)
        with tf.Session() as session:
            return session.run([value, tf.gradients(value, b)[0]])

    _asked(check, functions, with_gradient)


def chainer(check):
    import chainer
    import chainer.functions as F

    def symmetric(b):
        return F.matmul(b, b, transb=True) + np.eye(3)

    functions = {
        "solve": lambda b: F.sum(RIGHT[::-1] * F.matmul(F.inv(b), RIGHT)),
        "inverse": lambda b: F.sum(WEIGHTS * F.inv(b)),
        "log determinant": lambda b: F.log(F.absolute(F.det(b))),
        "Cholesky": lambda b: F.sum(WEIGHTS * F.cholesky(symmetric(b))),
    }

    for name, function in functions.items():

        @check(name)
        def one(name=name, function=function):
            if name == "solve":
                check.fallback("by the inverse: there is no solve")
            b = chainer.Variable(B)
            value = function(b)
            value.backward()
            return np.append(value.array, b.grad)

    @check("eigenvalues")
    def eigenvalues():
        check.lacks("chainer.functions.eigh", "Chainer has no eigenvalues")

    @check("singular values")
    def singular():
        check.lacks("chainer.functions.svd", "Chainer has no singular values")


def mxnet(check):
    from mxnet import autograd, nd

    def constant(value):
        return nd.array(value, dtype="float64")

    weights, right = constant(WEIGHTS), constant(RIGHT[:, None])
    eigen_weights, turned = constant(RIGHT), constant(RIGHT[::-1, None].copy())

    def symmetric(b):
        return nd.dot(b, b.T) + constant(np.eye(3))

    functions = {
        "solve": lambda b: nd.sum(turned * nd.dot(nd.linalg.inverse(b), right)),
        "inverse": lambda b: nd.sum(weights * nd.linalg.inverse(b)),
        "log determinant": lambda b: nd.linalg.slogdet(b)[1],
        "Cholesky": lambda b: nd.sum(weights * nd.linalg.potrf(symmetric(b))),
        "eigenvalues": lambda b: nd.sum(
            eigen_weights * nd.linalg.syevd(symmetric(b))[1]
        ),
    }
    for name, function in functions.items():

        @check(name)
        def one(name=name, function=function):
            if name == "solve":
                check.fallback("by the inverse: there is no solve of a full matrix")
            b = constant(B)
            b.attach_grad()
            with autograd.record():
                value = function(b)
            value.backward()
            return np.append(value.asnumpy(), b.grad.asnumpy())

    @check("singular values")
    def singular():
        check.lacks("mxnet.nd.linalg.svd", "singular values are in mxnet.np alone")


def cntk(check):
    check.nothing(
        "CNTK has products of matrices and no decompositions", "cntk.ops.cholesky"
    )


def caffe2(check):
    from caffe2.python import workspace

    # Nothing among nearly a thousand operators.
    words = ("solve", "inverse", "logdet", "cholesky", "eigenv", "svd")
    for name, word in zip(CHECKS, words):

        @check(name)
        def one(word=word):
            names = workspace.RegisteredOperators()
            found = [n for n in names if word in n.lower()]
            assert not found, "%s: the probe is out of date" % found
            check.no("none of its %d operators is named so: %s" % (len(names), word))


def tinygrad(check):
    from tinygrad import Tensor

    for name, lacking in (
        ("solve", "solve"),
        ("inverse", "inv"),
        ("log determinant", "logdet"),
        ("Cholesky", "cholesky"),
        ("eigenvalues", "eigh"),
    ):

        @check(name)
        def absent():
            check.lacks("tinygrad.Tensor." + lacking, "it has qr and svd")

    @check("singular values", refused_by=(RuntimeError,))
    def singular():
        b = Tensor(B)
        total = (Tensor(RIGHT) * b.svd()[1]).sum()
        return [total.item(), *total.gradient(b)[0].numpy().ravel()]
