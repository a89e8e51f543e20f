"""A gradient of one's own.

Swish, x sigmoid(x), with a gradient written by hand and clipped to 0.5 in size, which
the automatic one is not: it is seen which of them was used.
"""

import numpy as np

X = np.array([-2.0, -0.3, 0.4, 1.5])


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _swish(x):
    return x * _sigmoid(x)


def _clipped(x):
    s = _sigmoid(x)
    return np.clip(s + x * s * (1 - s), -0.5, 0.5)


CHECKS = {
    "its value": _swish(X),
    "its gradient is the written one": _clipped(X),
    # of the sum of exp(swish(2 x)) / 10
    "inside a longer function": np.exp(_swish(2 * X)) / 10 * _clipped(2 * X) * 2,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad
    from autograd.extend import defvjp, primitive

    @primitive
    def swish(x):
        return x / (1 + anp.exp(-x))

    def slope(x):
        s = 1 / (1 + anp.exp(-x))
        return anp.clip(s + x * s * (1 - s), -0.5, 0.5)

    defvjp(swish, lambda answer, x: lambda upstream: upstream * slope(x))

    @check("its value")
    def value():
        return swish(X)

    @check("its gradient is the written one")
    def gradient():
        return grad(lambda x: anp.sum(swish(x)))(X)

    @check("inside a longer function")
    def inside():
        return grad(lambda x: anp.sum(anp.exp(swish(2 * x)) / 10))(X)


def pytorch(check):
    import torch

    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            s = torch.sigmoid(x)
            return upstream * (s + x * s * (1 - s)).clamp(-0.5, 0.5)

    swish = Swish.apply

    def gradient_of(function):
        x = torch.tensor(X, requires_grad=True)
        function(x).sum().backward()
        return x.grad

    @check("its value")
    def value():
        return swish(torch.tensor(X))

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(swish)

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: torch.exp(swish(2 * x)) / 10)


def jax(check):
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def swish(x):
        return x * jax.nn.sigmoid(x)

    def forward(x):
        return swish(x), x

    def backward(x, upstream):
        s = jax.nn.sigmoid(x)
        return (upstream * jnp.clip(s + x * s * (1 - s), -0.5, 0.5),)

    swish.defvjp(forward, backward)

    @check("its value")
    def value():
        return swish(X)

    @check("its gradient is the written one")
    def gradient():
        return jax.jit(jax.grad(lambda x: jnp.sum(swish(x))))(X)

    @check("inside a longer function")
    def inside():
        return jax.jit(jax.grad(lambda x: jnp.sum(jnp.exp(swish(2 * x)) / 10)))(X)


def tensorflow(check):
    import tensorflow as tf

    @tf.custom_gradient
    def swish(x):
        s = tf.sigmoid(x)

        def gradient(upstream):
            return upstream * tf.clip_by_value(s + x * s * (1 - s), -0.5, 0.5)

        return x * s, gradient

    def gradient_of(function):
        x = tf.Variable(X)
        with tf.GradientTape() as tape:
            y = function(x)
        return tape.gradient(y, x)

    @check("its value")
    def value():
        return swish(tf.constant(X))

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(swish)

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: tf.exp(swish(2 * x)) / 10)


def keras(check):
    import keras
    from keras import ops

    @ops.custom_gradient
    def swish(x):
        s = ops.sigmoid(x)

        def gradient(*args, upstream=None):
            (upstream,) = args if upstream is None else (upstream,)
            return upstream * ops.clip(s + x * s * (1 - s), -0.5, 0.5)

        return x * s, gradient

    class Offsets(keras.layers.Layer):
        """Weights x; what one step of descent takes off them is the gradient."""

        def __init__(self, function):
            super().__init__()
            self.function = function

        def build(self, shape):
            self.x = self.add_weight(shape=X.shape, initializer=lambda *_, **__: X)

        def call(self, inputs):
            return self.function(self.x + 0 * inputs)

    def gradient_of(function):
        model = keras.Sequential([Offsets(function)])
        model.compile(keras.optimizers.SGD(1.0), lambda y, scores: ops.sum(scores))
        model.train_on_batch(np.zeros((1, 4)), np.zeros((1, 4)))
        return X - model.get_weights()[0]

    @check("its value")
    def value():
        return ops.convert_to_numpy(swish(ops.convert_to_tensor(X, "float32")))

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(swish)

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: ops.exp(swish(2 * x)) / 10)


def paddle(check):
    import paddle
    from paddle.nn.functional import sigmoid

    class Swish(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * sigmoid(x)

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensor()
            s = sigmoid(x)
            return upstream * paddle.clip(s + x * s * (1 - s), -0.5, 0.5)

    swish = Swish.apply

    def gradient_of(function):
        x = paddle.to_tensor(X, stop_gradient=False)
        function(x).sum().backward()
        return x.grad.numpy()

    @check("its value")
    def value():
        return swish(paddle.to_tensor(X)).numpy()

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(swish)

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: paddle.exp(swish(2 * x)) / 10)


def mlx(check):
    import mlx.core as mx

    @mx.custom_function
    def swish(x):
        return x * mx.sigmoid(x)

    @swish.vjp
    def backward(x, upstream, output):
        s = mx.sigmoid(x)
        return upstream * mx.clip(s + x * s * (1 - s), -0.5, 0.5)

    x = mx.array(X)

    @check("its value")
    def value():
        return np.array(swish(x))

    @check("its gradient is the written one")
    def gradient():
        return np.array(mx.grad(lambda x: mx.sum(swish(x)))(x))

    @check("inside a longer function")
    def inside():
        return np.array(mx.grad(lambda x: mx.sum(mx.exp(swish(2 * x)) / 10))(x))


def _symbolic(check, library, T, sigmoid, swish):
    x = T.vector("x", dtype="float64")

    def value_of(graph):
        return library.function([x], graph, mode="FAST_COMPILE")(X)

    @check("its value")
    def value():
        return value_of(swish(x))

    @check("its gradient is the written one")
    def gradient():
        return value_of(library.grad(T.sum(swish(x)), x))

    @check("inside a longer function")
    def inside():
        return value_of(library.grad(T.sum(T.exp(swish(2 * x)) / 10), x))


def theano(check):
    import theano
    import theano.tensor as T

    sigmoid = T.nnet.sigmoid

    def slope(inputs, upstream):
        (x,), (upstream,) = inputs, upstream
        s = sigmoid(x)
        return [upstream * T.clip(s + x * s * (1 - s), -0.5, 0.5)]

    x = T.vector("x", dtype="float64")
    swish = theano.OpFromGraph([x], [x * sigmoid(x)], grad_overrides=slope)
    _symbolic(check, theano, T, sigmoid, swish)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.compile.builders import OpFromGraph

    def slope(inputs, outputs, upstream):
        (x,), (upstream,) = inputs, upstream
        s = T.sigmoid(x)
        return [upstream * T.clip(s + x * s * (1 - s), -0.5, 0.5)]

    x = T.vector("x", dtype="float64")
    swish = OpFromGraph([x], [x * T.sigmoid(x)], pullback=slope)
    _symbolic(check, pytensor, T, T.sigmoid, swish)


def tensorflow1(check):
    import tensorflow as tf

    @tf.custom_gradient
    def swish(x):
        s = tf.sigmoid(x)

        def gradient(upstream):
            return upstream * tf.clip_by_value(s + x * s * (1 - s), -0.5, 0.5)

        return x * s, gradient

    x = tf.constant(X)

    def run(graph):
        with tf.Session() as session:
            return session.run(graph)

    @check("its value")
    def value():
        return run(swish(x))

    @check("its gradient is the written one")
    def gradient():
        return run(tf.gradients(swish(x), x)[0])

    @check("inside a longer function")
    def inside():
        return run(tf.gradients(tf.exp(swish(2 * x)) / 10, x)[0])


def chainer(check):
    import chainer
    import chainer.functions as F

    class Swish(chainer.FunctionNode):
        def forward(self, inputs):
            self.retain_inputs((0,))
            (x,) = inputs
            return (x / (1 + np.exp(-x)),)

        def backward(self, indexes, upstream):
            (x,) = self.get_retained_inputs()
            s = F.sigmoid(x)
            return (upstream[0] * F.clip(s + x * s * (1 - s), -0.5, 0.5),)

    def swish(x):
        return Swish().apply((x,))[0]

    def gradient_of(function):
        x = chainer.Variable(X)
        F.sum(function(x)).backward()
        return x.grad

    @check("its value")
    def value():
        return swish(chainer.Variable(X)).array

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(swish)

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: F.exp(swish(2 * x)) / 10)


def mxnet(check):
    from mxnet import autograd, nd

    class Swish(autograd.Function):
        def forward(self, x):
            self.save_for_backward(x)
            return x * nd.sigmoid(x)

        def backward(self, upstream):
            (x,) = self.saved_tensors
            s = nd.sigmoid(x)
            return upstream * nd.clip(s + x * s * (1 - s), -0.5, 0.5)

    def gradient_of(function):
        x = nd.array(X, dtype="float64")
        x.attach_grad()
        with autograd.record():
            y = function(x)
        y.backward()
        return x.grad.asnumpy()

    @check("its value")
    def value():
        return Swish()(nd.array(X, dtype="float64")).asnumpy()

    @check("its gradient is the written one")
    def gradient():
        return gradient_of(lambda x: Swish()(x))

    @check("inside a longer function")
    def inside():
        return gradient_of(lambda x: nd.exp(Swish()(2 * x)) / 10)


def dynet(check):
    check.nothing("DyNet's nodes are C++; none is written in Python", "dynet.Node")


def keras2(check):
    check.nothing(
        "Keras 2 leaves gradients to its engine", "keras.backend.custom_gradient"
    )


def cntk(check):
    import cntk as C
    from cntk.ops.functions import UserFunction

    class Swish(UserFunction):
        def infer_outputs(self):
            x = self.inputs[0]
            return [C.output_variable(x.shape, x.dtype, x.dynamic_axes)]

        def forward(self, x, device=None, outputs_to_retain=None):
            return x, _swish(x)

        def backward(self, x, upstream):
            return upstream * _clipped(x)

    x = C.input_variable(4, needs_gradient=True)
    points = {x: X[None].astype("float32")}

    def swish(x):
        return C.user_function(Swish([x]))

    @check("its value")
    def value():
        return swish(x).eval(points)[0]

    @check("its gradient is the written one")
    def gradient():
        return swish(x).grad(points, wrt=[x])[0]

    @check("inside a longer function")
    def inside():
        longer = C.exp(swish(2 * x)) / 10
        return longer.grad(points, wrt=[x])[0]


def caffe2(check):
    from caffe2.python import core, workspace

    def forward(inputs, outputs):
        outputs[0].feed(_swish(inputs[0].data))

    def backward(inputs, outputs):
        x, _, upstream = (blob.data for blob in inputs)
        outputs[0].feed(upstream * _clipped(x))

    def run(build):
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", X.astype("float32"))
        net = core.Net("function")
        y = build(net)
        gradients = net.AddGradientOperators([net.SumElements(y, "total")])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(y), workspace.FetchBlob(gradients["x"])

    def swish(net, x="x"):
        return net.Python(forward, backward)([x], ["swish"])

    check("its value")(lambda: run(swish)[0])
    check("its gradient is the written one")(lambda: run(swish)[1])

    @check("inside a longer function")
    def inside():
        def longer(net):
            y = net.Exp(swish(net, net.Scale("x", "twice", scale=2.0)), "exp")
            return net.Scale(y, "tenth", scale=0.1)

        return run(longer)[1]


def tinygrad(check):
    from tinygrad import Tensor

    # What is detached has no gradient: the value is that of swish, the gradient that of
    # a product of x and the slope.
    def swish(x):
        slope = (x.sigmoid() + x * x.sigmoid() * (1 - x.sigmoid())).clip(-0.5, 0.5)
        straight = x * slope.detach()
        return straight + (x * x.sigmoid() - straight).detach()

    by_hand = "by detach: a function has no rule of one's own"

    @check("its value")
    def value():
        check.fallback(by_hand)
        return swish(Tensor(X)).numpy()

    @check("its gradient is the written one")
    def gradient():
        check.fallback(by_hand)
        x = Tensor(X)
        return swish(x).sum().gradient(x)[0].numpy()

    @check("inside a longer function")
    def inside():
        check.fallback(by_hand)
        x = Tensor(X)
        return (swish(2 * x).exp() / 10).sum().gradient(x)[0].numpy()
