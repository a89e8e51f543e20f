"""Automatic differentiation.

Are the gradients of twelve operations, of a matrix of 2 by 3, those of central
differences?
"""

import numpy as np

X = np.array([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]])
WEIGHTS = np.array([[1.0, -2.0, 0.5], [3.0, 0.7, -1.5]])
RIGHT = np.array([[0.2, -1.0], [0.5, 0.3], [-0.8, 1.2]])
PRODUCT = np.array([[1.0, -0.5], [2.0, 0.4]])
KERNEL = np.array([[0.5, -1.0], [2.0, 0.3]])
ROWS = [1, 1, 0]
PICKED = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.5], [0.2, 0.1, 4.0]])


def _softmax(x):
    e = np.exp(x)
    return e / e.sum(1, keepdims=True)


def _convolved(x):
    return np.array([np.sum(x[:, i : i + 2] * KERNEL) for i in range(2)])


OPERATIONS = {
    "pointwise": [
        lambda x: np.sum(WEIGHTS * np.exp(x)),
        lambda x: np.sum(WEIGHTS * np.log(x * x + 1)),
        lambda x: np.sum(WEIGHTS * np.tanh(x)),
        lambda x: np.sum(WEIGHTS / (1 + np.exp(-x))),
        lambda x: np.sum(WEIGHTS * np.maximum(x, 0)),
        lambda x: np.sum(WEIGHTS / (x + 2)),
    ],
    "over an axis": [
        lambda x: np.sum(WEIGHTS * _softmax(x)),
        lambda x: np.sum(x.max(1) * np.array([1.0, -2.0])),
        lambda x: np.sum(x.var(1) * np.array([1.0, -2.0])),
    ],
    "products": [
        lambda x: np.sum(PRODUCT * (x @ RIGHT)),
        lambda x: np.sum(_convolved(x) * np.array([1.0, -2.0])),
    ],
    "chosen rows": [lambda x: np.sum(PICKED * x[ROWS])],
}


def _differences(function):
    found = np.zeros_like(X)
    for at in np.ndindex(*X.shape):
        step = np.zeros_like(X)
        step[at] = 1e-5
        found[at] = (function(X + step) - function(X - step)) / 2e-5
    return found


CHECKS = {
    name: np.array([_differences(function) for function in functions])
    for name, functions in OPERATIONS.items()
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    signs = anp.array([1.0, -2.0])

    def softmax(x):
        e = anp.exp(x)
        return e / anp.sum(e, axis=1, keepdims=True)

    @check("pointwise")
    def pointwise():
        functions = [
            lambda x: anp.sum(WEIGHTS * anp.exp(x)),
            lambda x: anp.sum(WEIGHTS * anp.log(x * x + 1)),
            lambda x: anp.sum(WEIGHTS * anp.tanh(x)),
            lambda x: anp.sum(WEIGHTS / (1 + anp.exp(-x))),
            lambda x: anp.sum(WEIGHTS * anp.maximum(x, 0)),
            lambda x: anp.sum(WEIGHTS / (x + 2)),
        ]
        return [grad(function)(X) for function in functions]

    @check("over an axis")
    def reductions():
        functions = [
            lambda x: anp.sum(WEIGHTS * softmax(x)),
            lambda x: anp.sum(anp.max(x, axis=1) * signs),
            lambda x: anp.sum(anp.var(x, axis=1) * signs),
        ]
        return [grad(function)(X) for function in functions]

    # The convolution as NumPy says it: autograd's own asks for SciPy.
    @check("products")
    def products():
        def convolved(x):
            parts = [anp.sum(x[:, i : i + 2] * KERNEL) for i in range(2)]
            return anp.sum(anp.array(parts) * signs)

        functions = [lambda x: anp.sum(PRODUCT * anp.dot(x, RIGHT)), convolved]
        return [grad(function)(X) for function in functions]

    @check("chosen rows")
    def rows():
        return [grad(lambda x: anp.sum(PICKED * x[ROWS]))(X)]


def pytorch(check):
    import torch
    from torch.nn import functional

    weights, right, product, kernel, picked = map(
        torch.tensor, (WEIGHTS, RIGHT, PRODUCT, KERNEL, PICKED)
    )
    signs = torch.tensor([1.0, -2.0], dtype=torch.float64)

    def gradients(functions):
        found = []
        for function in functions:
            x = torch.tensor(X, requires_grad=True)
            function(x).sum().backward()
            found.append(x.grad.numpy())
        return found

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: weights * torch.exp(x),
                lambda x: weights * torch.log(x * x + 1),
                lambda x: weights * torch.tanh(x),
                lambda x: weights * torch.sigmoid(x),
                lambda x: weights * torch.relu(x),
                lambda x: weights / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: weights * torch.softmax(x, 1),
                lambda x: x.max(1).values * signs,
                lambda x: x.var(1, unbiased=False) * signs,
            ]
        )

    @check("products")
    def products():
        return gradients(
            [
                lambda x: product * (x @ right),
                lambda x: functional.conv2d(x[None, None], kernel[None, None]) * signs,
            ]
        )

    @check("chosen rows")
    def rows():
        return gradients([lambda x: picked * x[ROWS]])


def jax(check):
    import jax
    import jax.numpy as jnp

    signs = np.array([1.0, -2.0])

    def gradients(functions):
        @jax.jit
        def compiled(x):
            return [
                jax.grad(lambda x, function=function: jnp.sum(function(x)))(x)
                for function in functions
            ]

        with jax.enable_x64(True):
            return compiled(X)

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: WEIGHTS * jnp.exp(x),
                lambda x: WEIGHTS * jnp.log(x * x + 1),
                lambda x: WEIGHTS * jnp.tanh(x),
                lambda x: WEIGHTS * jax.nn.sigmoid(x),
                lambda x: WEIGHTS * jax.nn.relu(x),
                lambda x: WEIGHTS / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: WEIGHTS * jax.nn.softmax(x, axis=1),
                lambda x: x.max(1) * signs,
                lambda x: x.var(1) * signs,
            ]
        )

    @check("products")
    def products():
        return gradients(
            [
                lambda x: PRODUCT * (x @ RIGHT),
                lambda x: (
                    jax.lax.conv(x[None, None], KERNEL[None, None], (1, 1), "VALID")
                    * signs
                ),
            ]
        )

    @check("chosen rows")
    def rows():
        return gradients([lambda x: PICKED * x[np.array(ROWS)]])


def tensorflow(check):
    import tensorflow as tf

    signs = np.array([1.0, -2.0])

    def gradients(functions):
        found = []
        for function in functions:
            x = tf.Variable(X)
            with tf.GradientTape() as tape:
                y = function(x)
            found.append(tf.convert_to_tensor(tape.gradient(y, x)).numpy())
        return found

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: WEIGHTS * tf.exp(x),
                lambda x: WEIGHTS * tf.math.log(x * x + 1),
                lambda x: WEIGHTS * tf.tanh(x),
                lambda x: WEIGHTS * tf.sigmoid(x),
                lambda x: WEIGHTS * tf.nn.relu(x),
                lambda x: WEIGHTS / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: WEIGHTS * tf.nn.softmax(x, axis=1),
                lambda x: tf.reduce_max(x, 1) * signs,
                lambda x: tf.math.reduce_variance(x, 1) * signs,
            ]
        )

    @check("products")
    def products():
        def convolved(x):
            image, kernel = x[None, :, :, None], KERNEL[:, :, None, None]
            return tf.nn.conv2d(image, kernel, 1, "VALID")[0, 0, :, 0] * signs

        return gradients([lambda x: PRODUCT * (x @ RIGHT), convolved])

    @check("chosen rows")
    def rows():
        return gradients([lambda x: PICKED * tf.gather(x, ROWS)])


def _keras_gradient(function, x):
    """The gradient of a sum by the engine of Keras, which has none of its own."""
    import keras

    engine = keras.backend.backend()
    if engine == "jax":
        import jax

        with jax.enable_x64(True):
            return jax.jit(jax.grad(lambda x: keras.ops.sum(function(x))))(x)
    if engine == "torch":
        import torch

        x = torch.tensor(x, requires_grad=True)
        function(x).sum().backward()
        return x.grad.numpy()
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tf.convert_to_tensor(tape.gradient(y, x)).numpy()


def keras(check):
    from keras import ops

    signs = np.array([1.0, -2.0])

    def gradients(functions):
        check.fallback("by the engine: Keras has no gradient of its own")
        return [_keras_gradient(function, X) for function in functions]

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: ops.multiply(WEIGHTS, ops.exp(x)),
                lambda x: ops.multiply(WEIGHTS, ops.log(x * x + 1)),
                lambda x: ops.multiply(WEIGHTS, ops.tanh(x)),
                lambda x: ops.multiply(WEIGHTS, ops.sigmoid(x)),
                lambda x: ops.multiply(WEIGHTS, ops.relu(x)),
                lambda x: ops.divide(WEIGHTS, x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: ops.multiply(WEIGHTS, ops.softmax(x, axis=1)),
                lambda x: ops.multiply(signs, ops.max(x, axis=1)),
                lambda x: ops.multiply(signs, ops.var(x, axis=1)),
            ]
        )

    @check("products")
    def products():
        def convolved(x):
            image, kernel = x[None, :, :, None], KERNEL[:, :, None, None]
            return ops.multiply(signs, ops.conv(image, kernel)[0, 0, :, 0])

        return gradients(
            [lambda x: ops.multiply(PRODUCT, ops.matmul(x, RIGHT)), convolved]
        )

    @check("chosen rows")
    def rows():
        return gradients([lambda x: ops.multiply(PICKED, ops.take(x, ROWS, axis=0))])


def paddle(check):
    import paddle
    from paddle.nn import functional

    weights, right, product, kernel, picked = map(
        paddle.to_tensor, (WEIGHTS, RIGHT, PRODUCT, KERNEL, PICKED)
    )
    signs = paddle.to_tensor([1.0, -2.0], dtype="float64")

    def gradients(functions):
        found = []
        for function in functions:
            x = paddle.to_tensor(X, stop_gradient=False)
            function(x).sum().backward()
            found.append(x.grad.numpy())
        return found

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: weights * paddle.exp(x),
                lambda x: weights * paddle.log(x * x + 1),
                lambda x: weights * paddle.tanh(x),
                lambda x: weights * functional.sigmoid(x),
                lambda x: weights * functional.relu(x),
                lambda x: weights / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: weights * functional.softmax(x, 1),
                lambda x: x.max(1) * signs,
                lambda x: x.var(1, unbiased=False) * signs,
            ]
        )

    @check("products")
    def products():
        return gradients(
            [
                lambda x: product * (x @ right),
                lambda x: functional.conv2d(x[None, None], kernel[None, None]) * signs,
            ]
        )

    @check("chosen rows")
    def rows():
        return gradients([lambda x: picked * x[paddle.to_tensor(ROWS)]])


def mlx(check):
    import mlx.core as mx

    weights, right, product, kernel, picked = map(
        mx.array, (WEIGHTS, RIGHT, PRODUCT, KERNEL, PICKED)
    )
    signs, x = mx.array([1.0, -2.0]), mx.array(X)

    def gradients(functions):
        return [
            np.array(mx.grad(lambda x, f=function: mx.sum(f(x)))(x))
            for function in functions
        ]

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: weights * mx.exp(x),
                lambda x: weights * mx.log(x * x + 1),
                lambda x: weights * mx.tanh(x),
                lambda x: weights * mx.sigmoid(x),
                lambda x: weights * mx.maximum(x, 0),
                lambda x: weights / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: weights * mx.softmax(x, axis=1),
                lambda x: x.max(1) * signs,
                lambda x: x.var(1) * signs,
            ]
        )

    @check("products")
    def products():
        def convolved(x):
            image, weight = x[None, :, :, None], kernel[None, :, :, None]
            return mx.conv2d(image, weight)[0, 0, :, 0] * signs

        return gradients([lambda x: product * (x @ right), convolved])

    @check("chosen rows")
    def rows():
        return gradients([lambda x: picked * x[mx.array(ROWS)]])


def _symbolic(check, library, T, sigmoid, relu, softmax, convolved):
    """Theano's way, and PyTensor's: a graph of the gradients, compiled once."""
    signs = np.array([1.0, -2.0])
    x = T.matrix("x", dtype="float64")

    def gradients(values, mode="FAST_COMPILE"):
        wanted = [library.grad(T.sum(value), x) for value in values]
        return library.function([x], wanted, mode=mode)(X)

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                WEIGHTS * T.exp(x),
                WEIGHTS * T.log(x * x + 1),
                WEIGHTS * T.tanh(x),
                WEIGHTS * sigmoid(x),
                WEIGHTS * relu(x),
                WEIGHTS / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [WEIGHTS * softmax(x), T.max(x, axis=1) * signs, T.var(x, axis=1) * signs]
        )

    @check("products")
    def products():
        # A convolution is C, which FAST_COMPILE leaves out.
        return gradients([PRODUCT * T.dot(x, RIGHT), convolved(x) * signs], None)

    @check("chosen rows")
    def rows():
        return gradients([PICKED * x[ROWS]])


def theano(check):
    import theano
    import theano.tensor as T

    def convolved(x):
        image, kernel = x.dimshuffle("x", "x", 0, 1), KERNEL[None, None]
        return T.nnet.conv2d(image, kernel, filter_flip=False)[0, 0, 0]

    nnet = T.nnet
    _symbolic(check, theano, T, nnet.sigmoid, nnet.relu, nnet.softmax, convolved)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.tensor.signal import convolve2d
    from pytensor.tensor.special import softmax

    def convolved(x):
        return convolve2d(x, KERNEL[::-1, ::-1], mode="valid")[0]

    def relu(x):
        return T.maximum(x, 0)

    _symbolic(
        check, pytensor, T, T.sigmoid, relu, lambda x: softmax(x, axis=1), convolved
    )


def tensorflow1(check):
    import tensorflow as tf

    signs = np.array([1.0, -2.0])
    x = tf.placeholder(tf.float64, (2, 3))

    def gradients(values):
        wanted = [tf.convert_to_tensor(tf.gradients(value, x)[0]) for value in values]
        with tf.Session() as session:
            return session.run(wanted, {x: X})

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                WEIGHTS * tf.exp(x),
                WEIGHTS * tf.log(x * x + 1),
                WEIGHTS * tf.tanh(x),
                WEIGHTS * tf.sigmoid(x),
                WEIGHTS * tf.nn.relu(x),
                WEIGHTS / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                WEIGHTS * tf.nn.softmax(x, axis=1),
                tf.reduce_max(x, 1) * signs,
                tf.math.reduce_variance(x, 1) * signs,
            ]
        )

    @check("products")
    def products():
        image, kernel = x[None, :, :, None], KERNEL[:, :, None, None]
        convolved = tf.nn.conv2d(image, kernel, strides=1, padding="VALID")
        return gradients([PRODUCT * tf.matmul(x, RIGHT), convolved[0, 0, :, 0] * signs])

    @check("chosen rows")
    def rows():
        return gradients([PICKED * tf.gather(x, ROWS)])


def chainer(check):
    import chainer
    import chainer.functions as F

    signs = np.array([1.0, -2.0])

    def gradients(functions):
        found = []
        for function in functions:
            x = chainer.Variable(X)
            F.sum(function(x)).backward()
            found.append(x.grad)
        return found

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: WEIGHTS * F.exp(x),
                lambda x: WEIGHTS * F.log(x * x + 1),
                lambda x: WEIGHTS * F.tanh(x),
                lambda x: WEIGHTS * F.sigmoid(x),
                lambda x: WEIGHTS * F.relu(x),
                lambda x: WEIGHTS / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        def variance(x):
            mean = F.mean(x, axis=1, keepdims=True)
            return F.mean((x - F.broadcast_to(mean, x.shape)) ** 2, axis=1)

        return gradients(
            [
                lambda x: WEIGHTS * F.softmax(x, axis=1),
                lambda x: F.max(x, axis=1) * signs,
                lambda x: variance(x) * signs,
            ]
        )

    @check("products")
    def products():
        def convolved(x):
            image = F.reshape(x, (1, 1, 2, 3))
            return F.convolution_2d(image, KERNEL[None, None])[0, 0, 0] * signs

        return gradients([lambda x: PRODUCT * F.matmul(x, RIGHT), convolved])

    @check("chosen rows")
    def rows():
        return gradients([lambda x: PICKED * F.get_item(x, ROWS)])


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    def constant(value):
        return nd.array(value, dtype="float64")

    weights, right, product, picked = map(constant, (WEIGHTS, RIGHT, PRODUCT, PICKED))
    kernel, signs = constant(KERNEL[None, None]), constant([1.0, -2.0])

    def gradients(functions):
        found = []
        for function in functions:
            x = constant(X)
            x.attach_grad()
            with autograd.record():
                y = function(x)
            y.backward()
            found.append(x.grad.asnumpy())
        return found

    @check("pointwise")
    def pointwise():
        check.note("MXNet " + mx.__version__)
        return gradients(
            [
                lambda x: weights * nd.exp(x),
                lambda x: weights * nd.log(x * x + 1),
                lambda x: weights * nd.tanh(x),
                lambda x: weights * nd.sigmoid(x),
                lambda x: weights * nd.relu(x),
                lambda x: weights / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        def variance(x):
            return nd.mean((x - nd.mean(x, axis=1, keepdims=True)) ** 2, axis=1)

        return gradients(
            [
                lambda x: weights * nd.softmax(x, axis=1),
                lambda x: nd.max(x, axis=1) * signs,
                lambda x: variance(x) * signs,
            ]
        )

    @check("products")
    def products():
        def convolved(x):
            image = nd.reshape(x, (1, 1, 2, 3))
            y = nd.Convolution(image, kernel, kernel=(2, 2), num_filter=1, no_bias=True)
            return nd.reshape(y, (2,)) * signs

        return gradients([lambda x: product * nd.dot(x, right), convolved])

    @check("chosen rows")
    def rows():
        return gradients([lambda x: picked * nd.take(x, nd.array(ROWS))])


def dynet(check):
    import dynet as dy

    weights, signs = WEIGHTS.astype("float32"), np.float32([1.0, -2.0])

    def gradients(functions):
        """Of float32, which is all that DyNet computes in."""
        found = []
        for function in functions:
            dy.renew_cg()
            collection = dy.ParameterCollection()
            x = collection.parameters_from_numpy(X)
            dy.sum_elems(function(x)).backward()
            found.append(x.grad_as_array())
        return found

    def weighed(x):
        return dy.cmult(dy.inputTensor(weights), x)

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: weighed(dy.exp(x)),
                lambda x: weighed(dy.log(dy.square(x) + 1)),
                lambda x: weighed(dy.tanh(x)),
                lambda x: weighed(dy.logistic(x)),
                lambda x: weighed(dy.rectify(x)),
                lambda x: dy.cdiv(dy.inputTensor(weights), x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        def softmax(x):
            return weighed(dy.transpose(dy.softmax(dy.transpose(x))))

        def moment(x):
            return dy.cmult(dy.inputTensor(signs), dy.std_dim(x, [1], False) ** 2)

        return gradients(
            [
                softmax,
                lambda x: dy.cmult(dy.inputTensor(signs), dy.max_dim(x, 1)),
                moment,
            ]
        )

    @check("products")
    def products():
        def multiplied(x):
            return dy.cmult(dy.inputTensor(PRODUCT), x * dy.inputTensor(RIGHT))

        def convolved(x):
            image = dy.reshape(x, (2, 3, 1))
            kernel = dy.inputTensor(KERNEL[:, :, None, None])
            y = dy.conv2d(image, kernel, [1, 1], is_valid=True)
            return dy.cmult(dy.inputTensor(signs), dy.reshape(y, (2,)))

        return gradients([multiplied, convolved])

    @check("chosen rows")
    def rows():
        def chosen(x):
            return dy.cmult(dy.inputTensor(PICKED), dy.select_rows(x, ROWS))

        return gradients([chosen])


def cntk(check):
    import cntk as C

    signs = np.array([1.0, -2.0])

    def gradients(functions):
        x = C.parameter(init=X, dtype=np.float64)
        return [C.reduce_sum(f(x)).grad({}, wrt=[x]) for f in functions]

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: C.exp(x) * WEIGHTS,
                lambda x: C.log(x * x + 1) * WEIGHTS,
                lambda x: C.tanh(x) * WEIGHTS,
                lambda x: C.sigmoid(x) * WEIGHTS,
                lambda x: C.relu(x) * WEIGHTS,
                lambda x: C.reciprocal(x + 2) * WEIGHTS,
            ]
        )

    @check("over an axis")
    def reductions():
        def variance(x):
            return C.reduce_mean(C.square(x - C.reduce_mean(x, axis=1)), axis=1)

        return gradients(
            [
                lambda x: C.softmax(x, axis=1) * WEIGHTS,
                lambda x: C.reduce_max(x, axis=1) * signs[:, None],
                lambda x: variance(x) * signs[:, None],
            ]
        )

    # Only what comes with the batch can be convolved, and in float32 as in float64.
    @check("products")
    def products():
        x = C.parameter(init=X, dtype=np.float64)
        found = C.reduce_sum(C.times(x, RIGHT) * PRODUCT).grad({}, wrt=[x])
        image = C.input_variable((1, 2, 3), dtype=np.float64, needs_gradient=True)
        kernel = C.constant(KERNEL[None, None])
        convolved = C.convolution(kernel, image, auto_padding=[False])
        total = C.reduce_sum(convolved * signs)
        return [found, total.grad({image: X[None, None]}, wrt=[image])[0, 0]]

    @check("chosen rows")
    def rows():
        x = C.parameter(init=X, dtype=np.float64)
        index = C.input_variable((), dtype=np.float64)
        picked = C.input_variable(3, dtype=np.float64)
        total = C.reduce_sum(C.gather(x, index) * picked)
        batch = {index: np.array(ROWS, "float64"), picked: PICKED}
        return [total.grad(batch, wrt=[x])]


def caffe2(check):
    from caffe2.python import core, workspace

    def gradient(build):
        """The gradient of the sum of what a function puts into a net."""
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", X.astype("float32"))
        net = core.Net("function")

        def constant(values):
            values = np.asarray(values, "float32")
            return net.GivenTensorFill([], 1, shape=values.shape, values=values.ravel())

        y = build(net, constant)
        total = net.SumElements(y, "total")
        gradients = net.AddGradientOperators([total])
        workspace.RunNetOnce(net)
        found = gradients["x"]
        if isinstance(found, core.GradientSlice):
            dense = np.zeros(X.shape)
            rows, values = workspace.FetchBlobs([found.indices, found.values])
            np.add.at(dense, rows, values)
            return dense
        return workspace.FetchBlob(found)

    @check("pointwise")
    def pointwise():
        def squares(net, constant):
            one = net.Add([net.Mul(["x", "x"], 1), constant(np.ones((2, 3)))], 1)
            return net.Mul([net.Log(one, 1), constant(WEIGHTS)], 1)

        def fraction(net, constant):
            shifted = net.Add(["x", constant(np.full((2, 3), 2))], 1)
            return net.Div([constant(WEIGHTS), shifted], 1)

        def weighed(kind):
            return lambda net, constant: net.Mul(
                [getattr(net, kind)("x", 1), constant(WEIGHTS)], 1
            )

        kinds = [weighed(kind) for kind in ("Exp", "Tanh", "Sigmoid", "Relu")]
        return [gradient(f) for f in [kinds[0], squares] + kinds[1:] + [fraction]]

    @check("over an axis")
    def reductions():
        signs = np.array([1.0, -2.0])

        def softmax(net, constant):
            return net.Mul([net.Softmax("x", 1), constant(WEIGHTS)], 1)

        def largest(net, constant):
            return net.Mul(
                [net.ReduceBackMax("x", 1, num_reduce_dim=1), constant(signs)], 1
            )

        def variance(net, constant):
            mean = net.ReduceBackMean("x", 1, num_reduce_dim=1)
            distances = net.Sub(["x", mean], 1, broadcast=1, axis=0)
            found = net.ReduceBackMean(net.Sqr(distances, 1), 1, num_reduce_dim=1)
            return net.Mul([found, constant(signs)], 1)

        return [gradient(f) for f in (softmax, largest, variance)]

    @check("products")
    def products():
        def matrices(net, constant):
            product = net.MatMul(["x", constant(RIGHT)], 1)
            return net.Mul([product, constant(PRODUCT)], 1)

        def convolved(net, constant):
            image, _ = net.Reshape("x", 2, shape=[1, 1, 2, 3])
            found = net.Conv([image, constant(KERNEL[None, None])], 1, kernel=2)
            return net.Mul([found, constant([[[[1, -2]]]])], 1)

        return [gradient(matrices), gradient(convolved)]

    @check("chosen rows")
    def rows():
        def gathered(net, constant):
            workspace.FeedBlob("rows", np.array(ROWS, "int32"))
            return net.Mul([net.Gather(["x", "rows"], 1), constant(PICKED)], 1)

        return [gradient(gathered)]


def tinygrad(check):
    from tinygrad import Tensor

    weights, signs = Tensor(WEIGHTS), Tensor([1.0, -2.0])

    def gradients(functions):
        found = []
        for function in functions:
            x = Tensor(X)
            found.append(function(x).sum().gradient(x)[0].numpy())
        return found

    @check("pointwise")
    def pointwise():
        return gradients(
            [
                lambda x: weights * x.exp(),
                lambda x: weights * (x * x + 1).log(),
                lambda x: weights * x.tanh(),
                lambda x: weights * x.sigmoid(),
                lambda x: weights * x.relu(),
                lambda x: weights / (x + 2),
            ]
        )

    @check("over an axis")
    def reductions():
        return gradients(
            [
                lambda x: weights * x.softmax(1),
                lambda x: x.max(1) * signs,
                lambda x: x.var(1, correction=0) * signs,
            ]
        )

    @check("products")
    def products():
        right, product = Tensor(RIGHT), Tensor(PRODUCT)
        kernel = Tensor(KERNEL[None, None])

        def convolved(x):
            return x.reshape(1, 1, 2, 3).conv2d(kernel)[0, 0, 0] * signs

        return gradients([lambda x: product * x.matmul(right), convolved])

    @check("chosen rows")
    def rows():
        return gradients([lambda x: Tensor(PICKED) * x[ROWS]])
