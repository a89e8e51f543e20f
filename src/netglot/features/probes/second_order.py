"""Second derivatives.

Can a gradient be differentiated again, and used in what is trained?
"""

import numpy as np

X = np.array([0.5, -1.0, 2.0])
DIRECTION = np.array([1.0, 0.3, -2.0])

# f(x) = sum(x ** 3) + x0 x1 x2
HESSIAN = np.diag(6 * X) + np.array([[0, X[2], X[1]], [X[2], 0, X[0]], [X[1], X[0], 0]])

# The penalty of a Wasserstein network: D(x) = tanh(w x); P = (dD/dx)^2 as a function
# of w, differentiated by hand.
W, AT = 0.8, 0.6
_T = np.tanh(W * AT)
_S = 1 - _T**2
PENALTY = 2 * W * _S**2 - 4 * W**2 * AT * _T * _S**2

CHECKS = {
    "the derivative of a derivative": -np.sin(0.7),
    "Hessian times a vector": HESSIAN @ DIRECTION,
    "the whole Hessian": HESSIAN,
    "gradient of a gradient penalty": PENALTY,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad, hessian, hessian_vector_product

    def function(x):
        return anp.sum(x**3) + anp.prod(x)

    @check("the derivative of a derivative")
    def second():
        return grad(grad(anp.sin))(0.7)

    @check("Hessian times a vector")
    def product():
        return hessian_vector_product(function)(X, DIRECTION)

    @check("the whole Hessian")
    def whole():
        return hessian(function)(X)

    @check("gradient of a gradient penalty")
    def penalty():
        slope = grad(lambda x, w: anp.tanh(w * x))
        return grad(lambda w: slope(AT, w) ** 2)(W)


def pytorch(check):
    import torch

    x, direction = torch.tensor(X), torch.tensor(DIRECTION)

    def function(x):
        return (x**3).sum() + x.prod()

    @check("the derivative of a derivative")
    def second():
        x = torch.tensor(0.7, requires_grad=True)
        (slope,) = torch.autograd.grad(x.sin(), x, create_graph=True)
        slope.backward()
        return x.grad

    @check("Hessian times a vector")
    def product():
        return torch.autograd.functional.hvp(function, x, direction)[1]

    @check("the whole Hessian")
    def whole():
        return torch.func.hessian(function)(x)

    @check("gradient of a gradient penalty")
    def penalty():
        w = torch.tensor(W, requires_grad=True)
        x = torch.tensor(AT, requires_grad=True)
        (slope,) = torch.autograd.grad(torch.tanh(w * x), x, create_graph=True)
        (slope**2).backward()
        return w.grad


def jax(check):
    import jax
    import jax.numpy as jnp

    x, direction = jnp.array(X), jnp.array(DIRECTION)

    def function(x):
        return jnp.sum(x**3) + jnp.prod(x)

    @check("the derivative of a derivative")
    def second():
        return jax.grad(jax.grad(jnp.sin))(0.7)

    @check("Hessian times a vector")
    def product():
        return jax.jvp(jax.grad(function), (x,), (direction,))[1]

    @check("the whole Hessian")
    def whole():
        return jax.hessian(function)(x)

    @check("gradient of a gradient penalty")
    def penalty():
        slope = jax.grad(lambda x, w: jnp.tanh(w * x))
        return jax.grad(lambda w: slope(AT, w) ** 2)(W)


def tensorflow(check):
    import tensorflow as tf

    x = tf.Variable(X)

    def function(x):
        return tf.reduce_sum(x**3) + tf.reduce_prod(x)

    @check("the derivative of a derivative")
    def second():
        x = tf.Variable(0.7)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = tf.sin(x)
            slope = inner.gradient(y, x)
        return outer.gradient(slope, x)

    @check("Hessian times a vector")
    def product():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = function(x)
            along = tf.reduce_sum(inner.gradient(y, x) * DIRECTION)
        return outer.gradient(along, x)

    @check("the whole Hessian")
    def whole():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = function(x)
            gradient = inner.gradient(y, x)
        return outer.jacobian(gradient, x)

    @check("gradient of a gradient penalty")
    def penalty():
        w, x = tf.Variable(W), tf.Variable(AT)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = tf.tanh(w * x)
            loss = inner.gradient(y, x) ** 2
        return outer.gradient(loss, w)


def _keras_grad(function):
    """The gradient by a first argument, by the engine of Keras."""
    import keras

    engine = keras.backend.backend()
    if engine == "jax":
        import jax

        return jax.grad(function)
    if engine == "torch":
        import torch

        return torch.func.grad(function)
    import tensorflow as tf

    def gradient(x, *others):
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, *others)
        return tape.gradient(y, x)

    return gradient


def keras(check):
    from keras import ops

    def number(value):
        return ops.convert_to_tensor(value, dtype="float32")

    def function(x):
        return ops.sum(x**3) + ops.prod(x)

    def along(direction):
        return _keras_grad(lambda x: ops.sum(_keras_grad(function)(x) * direction))

    def by_the_engine():
        check.fallback("by the engine: Keras has no gradient of its own")

    @check("the derivative of a derivative")
    def second():
        by_the_engine()
        return float(_keras_grad(_keras_grad(ops.sin))(number(0.7)))

    @check("Hessian times a vector")
    def product():
        by_the_engine()
        return ops.convert_to_numpy(along(number(DIRECTION))(number(X)))

    @check("the whole Hessian")
    def whole():
        by_the_engine()
        rows = [along(number(row))(number(X)) for row in np.eye(3)]
        return ops.convert_to_numpy(ops.stack(rows))

    @check("gradient of a gradient penalty")
    def penalty():
        by_the_engine()
        slope = _keras_grad(lambda x, w: ops.tanh(w * x))
        return float(_keras_grad(lambda w: slope(number(AT), w) ** 2)(number(W)))


def paddle(check):
    import paddle

    # prod has no second derivative; a product of three has.
    def function(x):
        return (x**3).sum() + x[0] * x[1] * x[2]

    def variable(value):
        return paddle.to_tensor(value, dtype="float64", stop_gradient=False)

    @check("the derivative of a derivative")
    def second():
        x = variable(0.7)
        (slope,) = paddle.grad(paddle.sin(x), x, create_graph=True)
        slope.backward()
        return x.grad.item()

    @check("Hessian times a vector")
    def product():
        x = variable(X)
        (gradient,) = paddle.grad(function(x), x, create_graph=True)
        along = (gradient * paddle.to_tensor(DIRECTION)).sum()
        return paddle.grad(along, x)[0].numpy()

    @check("the whole Hessian")
    def whole():
        x = variable(X)
        return paddle.autograd.hessian(function(x), x)[:].numpy()

    @check("gradient of a gradient penalty")
    def penalty():
        w, x = variable(W), variable(AT)
        (slope,) = paddle.grad(paddle.tanh(w * x), x, create_graph=True)
        (slope**2).backward()
        return w.grad.item()


def mlx(check):
    import mlx.core as mx

    x, direction = mx.array(X), mx.array(DIRECTION)

    def function(x):
        return mx.sum(x**3) + x[0] * x[1] * x[2]

    @check("the derivative of a derivative")
    def second():
        return mx.grad(mx.grad(mx.sin))(mx.array(0.7)).item()

    @check("Hessian times a vector")
    def product():
        gradient = mx.grad(function)
        return np.array(mx.grad(lambda x: mx.sum(gradient(x) * direction))(x))

    @check("the whole Hessian")
    def whole():
        gradient = mx.grad(function)
        row = mx.vmap(lambda v: mx.vjp(gradient, [x], [v])[1][0])
        return np.array(row(mx.eye(3)))

    @check("gradient of a gradient penalty")
    def penalty():
        slope = mx.grad(lambda x, w: mx.tanh(w * x))
        loss = mx.grad(lambda w: slope(mx.array(AT), w) ** 2)
        return loss(mx.array(W)).item()


def _symbolic(check, library, T, hessian):
    grad = library.grad
    x = T.vector("x", dtype="float64")
    y = T.sum(x**3) + x[0] * x[1] * x[2]

    def value(graph, inputs, *values):
        return library.function(inputs, graph, mode="FAST_COMPILE")(*values)

    @check("the derivative of a derivative")
    def second():
        s = T.scalar("s", dtype="float64")
        return value(grad(grad(T.sin(s), s), s), [s], 0.7)

    @check("Hessian times a vector")
    def product():
        return value(grad(T.sum(grad(y, x) * DIRECTION), x), [x], X)

    @check("the whole Hessian")
    def whole():
        return value(hessian(y, x), [x], X)

    @check("gradient of a gradient penalty")
    def penalty():
        w, at = T.scalar("w", dtype="float64"), T.scalar("x", dtype="float64")
        slope = grad(T.tanh(w * at), at)
        return value(grad(slope**2, w), [w, at], W, AT)


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T, theano.gradient.hessian)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    _symbolic(check, pytensor, T, pytensor.gradient.hessian)


def tensorflow1(check):
    import tensorflow as tf

    x = tf.placeholder(tf.float64, 3)
    y = tf.reduce_sum(x**3) + tf.reduce_prod(x)

    def value(graph, given):
        with tf.Session() as session:
            return session.run(graph, given)

    @check("the derivative of a derivative")
    def second():
        s = tf.placeholder(tf.float64, ())
        return value(tf.gradients(tf.gradients(tf.sin(s), s), s)[0], {s: 0.7})

    @check("Hessian times a vector")
    def product():
        along = tf.reduce_sum(tf.gradients(y, x)[0] * DIRECTION)
        return value(tf.gradients(along, x)[0], {x: X})

    @check("the whole Hessian")
    def whole():
        return value(tf.hessians(y, x)[0], {x: X})

    @check("gradient of a gradient penalty")
    def penalty():
        w, at = tf.placeholder(tf.float64, ()), tf.placeholder(tf.float64, ())
        slope = tf.gradients(tf.tanh(w * at), at)[0]
        return value(tf.gradients(slope**2, w)[0], {w: W, at: AT})


def chainer(check):
    import chainer
    import chainer.functions as F

    def function(x):
        return F.sum(x**3) + F.prod(x)

    def gradient_of(y, x):
        (gradient,) = chainer.grad([y], [x], enable_double_backprop=True)
        return gradient

    @check("the derivative of a derivative")
    def second():
        x = chainer.Variable(np.array(0.7))
        gradient_of(F.sin(x), x).backward()
        return x.grad

    @check("Hessian times a vector")
    def product():
        x = chainer.Variable(X)
        along = F.sum(gradient_of(function(x), x) * DIRECTION)
        return chainer.grad([along], [x])[0].array

    @check("the whole Hessian")
    def whole():
        x = chainer.Variable(X)
        gradient = gradient_of(function(x), x)
        return [chainer.grad([entry], [x])[0].array for entry in gradient]

    @check("gradient of a gradient penalty")
    def penalty():
        w, x = chainer.Variable(np.array(W)), chainer.Variable(np.array(AT))
        (gradient_of(F.tanh(w * x), x) ** 2).backward()
        return w.grad


def mxnet(check):
    from mxnet import autograd, base, nd

    def variable(value):
        x = nd.array(np.atleast_1d(value), dtype="float64")
        x.attach_grad()
        return x

    def cubes(x):
        return nd.sum(x**3) + x[0] * x[1] * x[2]

    refusals = (base.MXNetError,)

    @check("the derivative of a derivative", refused_by=refusals)
    def second():
        x = variable(0.7)
        with autograd.record():
            slope = autograd.grad(nd.sin(x), x, create_graph=True, retain_graph=True)[0]
        slope.backward()
        return x.grad.asscalar()

    @check("Hessian times a vector", refused_by=refusals)
    def product():
        x = variable(X)
        with autograd.record():
            gradient = autograd.grad(cubes(x), x, create_graph=True, retain_graph=True)[
                0
            ]
            along = nd.sum(gradient * nd.array(DIRECTION, dtype="float64"))
        along.backward()
        return x.grad.asnumpy()

    @check("the whole Hessian", refused_by=refusals)
    def whole():
        rows = []
        for i in range(3):
            x = variable(X)
            with autograd.record():
                gradient = autograd.grad(
                    cubes(x), x, create_graph=True, retain_graph=True
                )[0]
                entry = gradient[i]
            entry.backward()
            rows.append(x.grad.asnumpy())
        return rows

    @check("gradient of a gradient penalty", refused_by=refusals)
    def penalty():
        w, x = variable(W), variable(AT)
        with autograd.record():
            y = nd.tanh(w * x)
            slope = autograd.grad(y, x, create_graph=True, retain_graph=True)[0]
            loss = slope**2
        loss.backward()
        return w.grad.asscalar()


def dynet(check):
    check.nothing("DyNet's gradients are numbers, not expressions", "dynet.grad")


def keras2_tensorflow(check):
    from keras import backend as K

    x = K.placeholder((3,))
    y = K.sum(x**3) + x[0] * x[1] * x[2]

    def gradient(y, x):
        return K.gradients(y, [x])[0]

    def value(graph, inputs, given):
        return K.function(inputs, [graph])(given)[0]

    @check("the derivative of a derivative")
    def second():
        s = K.placeholder((1,))
        graph = gradient(K.sum(gradient(K.sum(K.sin(s)), s)), s)
        return value(graph, [s], [np.array([0.7])])[0]

    @check("Hessian times a vector")
    def product():
        along = K.sum(gradient(y, x) * K.constant(DIRECTION))
        return value(gradient(along, x), [x], [X])

    @check("the whole Hessian")
    def whole():
        slope = gradient(y, x)
        return [value(gradient(slope[i], x), [x], [X]) for i in range(3)]

    @check("gradient of a gradient penalty")
    def penalty():
        w, at = K.placeholder((1,)), K.placeholder((1,))
        slope = gradient(K.sum(K.tanh(w * at)), at)
        graph = gradient(K.sum(slope**2), w)
        return value(graph, [w, at], [np.array([W]), np.array([AT])])[0]


def cntk(check):
    import cntk as C

    # What grad gives is an array of NumPy's, which nothing differentiates.
    def again(function, x, value):
        gradient = function.grad({x: value}, wrt=[x])
        return C.reduce_sum(gradient).grad({}, wrt=[x])

    refused = (ValueError,)
    x = C.input_variable((), needs_gradient=True)
    v = C.input_variable(3, needs_gradient=True)

    @check("the derivative of a derivative", refused_by=refused)
    def second():
        return again(C.sin(x), x, np.float32([0.7]))

    for name in ("Hessian times a vector", "the whole Hessian"):

        @check(name, refused_by=refused)
        def hessian():
            return again(C.reduce_sum(v * v * v), v, X[None].astype("float32"))

    @check("gradient of a gradient penalty", refused_by=refused)
    def penalty():
        w = C.parameter(init=np.array(W, "float32"))
        slope = C.tanh(w * x).grad({x: np.float32([AT])}, wrt=[x])
        return C.square(slope).grad({}, wrt=[w])


def caffe2(check):
    from caffe2.python import core, workspace

    # The gradients of most operators have no gradient themselves.
    def twice(kind, value):
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", np.asarray(value, "float32"))
        net = core.Net("function")
        y = getattr(net, kind)("x", "y")
        first = net.AddGradientOperators([y])["x"]
        second = net.AddGradientOperators([net.SumElements(first, "total")])["x"]
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(second)

    def tried(kind, value):
        try:
            return twice(kind, value)
        except Exception as error:
            # It is a bare Exception: its text says what was refused.
            if "creating gradient for [%sGradient]" % kind not in str(error):
                raise
            check.no(str(error).splitlines()[0])

    check("the derivative of a derivative")(lambda: tried("Sin", [0.7])[0])
    for name in ("Hessian times a vector", "the whole Hessian"):
        check(name)(lambda: tried("Cube", X))
    check("gradient of a gradient penalty")(lambda: tried("Tanh", [W * AT])[0])


def tinygrad(check):
    from tinygrad import Tensor, dtypes

    def f(x):
        return (x**3).sum() + x[0] * x[1] * x[2]

    @check("the derivative of a derivative")
    def second():
        x = Tensor(0.7, dtype=dtypes.float32)
        return x.sin().gradient(x)[0].gradient(x)[0].item()

    @check("Hessian times a vector")
    def product():
        x = Tensor(X)
        slope = f(x).gradient(x)[0]
        return (slope * Tensor(DIRECTION)).sum().gradient(x)[0].numpy()

    @check("the whole Hessian")
    def hessian():
        x = Tensor(X)
        slope = f(x).gradient(x)[0]
        return [slope[i].gradient(x)[0].numpy() for i in range(3)]

    @check("gradient of a gradient penalty")
    def penalty():
        w, x = [Tensor(v, dtype=dtypes.float32) for v in (W, AT)]
        slope = (w * x).tanh().gradient(x)[0]
        return (slope**2).gradient(w)[0].item()
