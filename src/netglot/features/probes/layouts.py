"""Channels first and last.

The same convolution of the same image, stored with its channels first and last: the
values, and the gradient of the kernel.
"""

import contextlib

import numpy as np

_random = np.random.RandomState(7)


def _some(*shape):
    return (_random.randint(-48, 49, shape) / 64.0).astype("float32")


#: Channels first, (batch, channels, height, width); (outputs, inputs, height, width).
X, KERNEL = _some(2, 3, 5, 6), _some(4, 3, 2, 2)


def _taps():
    for index in np.ndindex(*KERNEL.shape):
        _, i, a, b = index
        yield index, X[:, i, a : a + 4, b : b + 5].astype("float64")


def _values():
    found = np.zeros((2, 4, 4, 5))
    for index, window in _taps():
        found[:, index[0]] += KERNEL[index] * window
    return found


VALUES = _values()
#: The loss is the sum of the outputs times these.
LOSS = _some(*VALUES.shape)


def _gradient():
    found = np.zeros(KERNEL.shape)
    for index, window in _taps():
        found[index] = (LOSS[:, index[0]] * window).sum()
    return found


#: As (batch, height, width, channels), which is how the second is answered.
LAST, LOSS_LAST = X.transpose(0, 2, 3, 1), LOSS.transpose(0, 2, 3, 1)

CHECKS = {
    "channels first": VALUES,
    "channels last": VALUES.transpose(0, 2, 3, 1),
    "gradient, channels first": _gradient(),
    "gradient, channels last": _gradient(),
}


def numpy(check):
    for name in CHECKS:

        @check(name)
        def layout():
            check.lacks(
                "autograd.numpy.conv2d", "autograd has no convolution of images"
            )


def pytorch(check):
    import torch
    from torch.nn import functional

    x, loss = torch.from_numpy(X), torch.from_numpy(LOSS)

    # The shape stays (batch, channels, height, width); the memory is another.
    def convolved(layout):
        kernel = torch.tensor(KERNEL, requires_grad=True)
        found = functional.conv2d(
            x.to(memory_format=layout), kernel.to(memory_format=layout)
        )
        assert found.is_contiguous(memory_format=layout)
        return found, kernel

    @check("channels first")
    def first():
        return convolved(torch.contiguous_format)[0].detach().numpy()

    @check("channels last")
    def last():
        found, _ = convolved(torch.channels_last)
        return found.detach().permute(0, 2, 3, 1).contiguous().numpy()

    def gradient(layout):
        found, kernel = convolved(layout)
        found.backward(loss)
        return kernel.grad.numpy()

    check("gradient, channels first")(lambda: gradient(torch.contiguous_format))
    check("gradient, channels last")(lambda: gradient(torch.channels_last))


def jax(check):
    import jax
    import jax.numpy as jnp

    def convolve(x, layout, kernel):
        numbers = (layout, "OIHW", layout)
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=numbers
        )

    def gradient(x, layout, loss):
        return jax.grad(lambda k: jnp.sum(convolve(x, layout, k) * loss))(KERNEL)

    check("channels first")(lambda: convolve(X, "NCHW", KERNEL))
    check("channels last")(lambda: convolve(LAST, "NHWC", KERNEL))
    check("gradient, channels first")(lambda: gradient(X, "NCHW", LOSS))
    check("gradient, channels last")(lambda: gradient(LAST, "NHWC", LOSS_LAST))


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    layer = nnx.Conv(3, 4, (2, 2), padding="VALID", use_bias=False, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.asarray(KERNEL.transpose(2, 3, 1, 0))

    # Channels are last in every layer of Flax.
    def first(layer):
        check.fallback(
            "transposed before and after: the layer knows channels last only"
        )
        return layer(LAST).transpose(0, 3, 1, 2)

    def gradient(call, loss):
        found = nnx.grad(lambda m: jnp.sum(call(m) * loss))(layer)
        return found["kernel"][...].transpose(3, 2, 0, 1)

    check("channels first")(lambda: first(layer))
    check("channels last")(lambda: layer(LAST))
    check("gradient, channels first")(lambda: gradient(first, LOSS))
    check("gradient, channels last")(lambda: gradient(lambda m: m(LAST), LOSS_LAST))


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    layer = eqx.nn.Conv2d(3, 4, 2, use_bias=False, key=jax.random.key(0))
    layer = eqx.tree_at(lambda m: m.weight, layer, jnp.asarray(KERNEL))

    def first(layer):
        return jax.vmap(layer)(X)

    # Channels are first in every layer of Equinox.
    def last(layer):
        check.fallback(
            "transposed before and after: the layer knows channels first only"
        )
        return jax.vmap(layer)(LAST.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)

    def gradient(call, loss):
        return eqx.filter_grad(lambda m: jnp.sum(call(m) * loss))(layer).weight

    check("channels first")(lambda: first(layer))
    check("channels last")(lambda: last(layer))
    check("gradient, channels first")(lambda: gradient(first, LOSS))
    check("gradient, channels last")(lambda: gradient(last, LOSS_LAST))


def tensorflow(check):
    import tensorflow as tf

    kernel = tf.Variable(KERNEL.transpose(2, 3, 1, 0))

    def convolve(x, layout):
        return tf.nn.conv2d(x, kernel, 1, "VALID", data_format=layout)

    def gradient(x, layout, loss):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(convolve(x, layout) * loss)
        return tf.transpose(tape.gradient(total, kernel), (3, 2, 0, 1)).numpy()

    refused = (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError)
    check("channels first", refused_by=refused)(lambda: convolve(X, "NCHW").numpy())
    check("channels last")(lambda: convolve(LAST, "NHWC").numpy())
    check("gradient, channels first", refused_by=refused)(
        lambda: gradient(X, "NCHW", LOSS)
    )
    check("gradient, channels last")(lambda: gradient(LAST, "NHWC", LOSS_LAST))


def keras(check):
    import keras

    def model(x, layout):
        found = keras.Sequential(
            [
                keras.Input(x.shape[1:]),
                keras.layers.Conv2D(4, 2, use_bias=False, data_format=layout),
            ]
        )
        found.set_weights([KERNEL.transpose(2, 3, 1, 0)])
        return found

    # A step of SGD at rate 1 shows the gradient, whatever the engine.
    def gradient(x, layout, loss):
        network = model(x, layout)
        network.compile(
            keras.optimizers.SGD(1.0),
            loss=lambda true, found: keras.ops.sum(true * found),
        )
        network.train_on_batch(x, loss)
        moved = KERNEL.transpose(2, 3, 1, 0) - network.get_weights()[0]
        return moved.transpose(3, 2, 0, 1)

    first, last = "channels_first", "channels_last"
    refused = ()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        refused = (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError)
    check("channels first", refused)(lambda: model(X, first).predict(X, verbose=0))
    check("channels last")(lambda: model(LAST, last).predict(LAST, verbose=0))
    check("gradient, channels first", refused)(lambda: gradient(X, first, LOSS))
    check("gradient, channels last")(lambda: gradient(LAST, last, LOSS_LAST))


def paddle(check):
    import paddle
    from paddle.nn import functional

    def convolved(x, layout):
        kernel = paddle.to_tensor(KERNEL, stop_gradient=False)
        x = paddle.to_tensor(np.ascontiguousarray(x))
        return functional.conv2d(x, kernel, data_format=layout), kernel

    def gradient(x, layout, loss):
        found, kernel = convolved(x, layout)
        (found * paddle.to_tensor(np.ascontiguousarray(loss))).sum().backward()
        return kernel.grad.numpy()

    check("channels first")(lambda: convolved(X, "NCHW")[0].numpy())
    check("channels last")(lambda: convolved(LAST, "NHWC")[0].numpy())
    check("gradient, channels first")(lambda: gradient(X, "NCHW", LOSS))
    check("gradient, channels last")(lambda: gradient(LAST, "NHWC", LOSS_LAST))


def mxnet(check):
    from mxnet import autograd, nd
    from mxnet.base import MXNetError

    def convolved(x, kernel, layout):
        kernel = nd.array(kernel)
        kernel.attach_grad()
        with autograd.record():
            found = nd.Convolution(
                nd.array(x),
                kernel,
                kernel=(2, 2),
                num_filter=4,
                no_bias=True,
                layout=layout,
            )
        return found, kernel

    def gradient(x, kernel, layout, loss):
        found, kernel = convolved(x, kernel, layout)
        found.backward(nd.array(loss))
        return kernel.grad.asnumpy()

    last = KERNEL.transpose(0, 2, 3, 1)
    check("channels first")(lambda: convolved(X, KERNEL, "NCHW")[0].asnumpy())
    check("channels last", refused_by=(MXNetError,))(
        lambda: convolved(LAST, last, "NHWC")[0].asnumpy()
    )
    check("gradient, channels first")(lambda: gradient(X, KERNEL, "NCHW", LOSS))
    check("gradient, channels last", refused_by=(MXNetError,))(
        lambda: gradient(LAST, last, "NHWC", LOSS_LAST).transpose(0, 3, 1, 2)
    )
    # What the engine refused later than it was asked would be told to the next.
    with contextlib.suppress(MXNetError):
        nd.waitall()


def mlx(check):
    import mlx.core as mx

    kernel = mx.array(KERNEL.transpose(0, 2, 3, 1))

    def last(k):
        return mx.conv2d(mx.array(LAST), k)

    # Channels are last in every layer of MLX.
    def first(k):
        check.fallback("transposed before and after: it knows channels last only")
        return mx.conv2d(mx.array(X).transpose(0, 2, 3, 1), k).transpose(0, 3, 1, 2)

    def gradient(call, loss):
        found = mx.grad(lambda k: (call(k) * mx.array(loss)).sum())(kernel)
        return np.array(found).transpose(0, 3, 1, 2)

    check("channels first")(lambda: np.array(first(kernel)))
    check("channels last")(lambda: np.array(last(kernel)))
    check("gradient, channels first")(lambda: gradient(first, LOSS))
    check("gradient, channels last")(lambda: gradient(last, LOSS_LAST))


def chainer(check):
    import chainer
    from chainer import functions

    def gradient(loss):
        k = chainer.Parameter(KERNEL.copy())
        functions.sum(functions.convolution_2d(X, k) * loss).backward()
        return k.grad

    check("channels first")(lambda: functions.convolution_2d(X, KERNEL).array)
    check("gradient, channels first")(lambda: gradient(LOSS))

    # chainer.memory_layouts has channels last for cuDNN only.
    for name in ("channels last", "gradient, channels last"):

        @check(name)
        def last():
            if chainer.backends.cuda.available:
                check.no("the probe was written where there is no GPU")
            check.not_here("a GPU, for chainer.memory_layouts.CUDNN_CHANNEL_LAST_X")


def cntk(check):
    import cntk as C

    def layer(image, kernel):
        x, w = C.input_variable(image.shape[1:]), C.parameter(init=kernel)
        return x, w, C.convolution(w, x, auto_padding=[False])

    def gradient(image, kernel, loss):
        x, w, y = layer(image, kernel)
        weights = C.input_variable(loss.shape[1:])
        return C.reduce_sum(y * weights).grad({x: image, weights: loss}, wrt=[w])

    @check("channels first")
    def first():
        x, _, y = layer(X, KERNEL)
        return y.eval({x: X})

    check("gradient, channels first")(lambda: gradient(X, KERNEL, LOSS))

    # The kernel's first axes are taken for channels whatever stands there.
    last_kernel = np.ascontiguousarray(KERNEL.transpose(0, 2, 3, 1))
    last, last_loss = np.ascontiguousarray(LAST), np.ascontiguousarray(LOSS_LAST)

    @check("channels last", refused_by=(ValueError, RuntimeError))
    def channels_last():
        x, _, y = layer(last, last_kernel)
        return y.eval({x: last})

    @check("gradient, channels last", refused_by=(ValueError, RuntimeError))
    def gradient_last():
        return gradient(last, last_kernel, last_loss)


def caffe2(check):
    from caffe2.python import core, workspace

    def run(image, kernel, order, loss=None):
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", np.ascontiguousarray(image))
        workspace.FeedBlob("w", np.ascontiguousarray(kernel))
        net = core.Net("convolution")
        y = net.Conv(["x", "w"], "y", kernel=2, order=order)
        if loss is None:
            workspace.RunNetOnce(net)
            return workspace.FetchBlob(y)
        workspace.FeedBlob("loss", np.ascontiguousarray(loss))
        total = net.SumElements(net.Mul([y, "loss"], 1), 1)
        gradients = net.AddGradientOperators([total])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(gradients["w"])

    last = KERNEL.transpose(0, 2, 3, 1)
    check("channels first")(lambda: run(X, KERNEL, "NCHW"))
    check("channels last")(lambda: run(LAST, last, "NHWC"))
    check("gradient, channels first")(lambda: run(X, KERNEL, "NCHW", LOSS))

    @check("gradient, channels last")
    def gradient():
        return run(LAST, last, "NHWC", LOSS_LAST).transpose(0, 3, 1, 2)
