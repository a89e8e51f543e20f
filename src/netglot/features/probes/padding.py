"""Same padding at stride 2, ceil pooling.

"Same" at stride 2 needs one more zero behind than before when the size is even; a pool
of 2 over an odd size must either drop the last pixel or make a smaller last window.
"""

import numpy as np

#: One image of one channel; the kernel is not symmetric, so the side of a zero shows.
X6 = (np.arange(36, dtype="float32").reshape(6, 6) % 7) - 3
X5 = (np.arange(25, dtype="float32").reshape(5, 5) % 7) - 9
KERNEL = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 10]], "float32")


def _convolved(before, after):
    x = np.pad(X6, (before, after))
    return np.array(
        [
            [(x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * KERNEL).sum() for j in range(3)]
            for i in range(3)
        ]
    )


def _pooled(function):
    return np.array(
        [
            [function(X5[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]) for j in range(3)]
            for i in range(3)
        ]
    )


CHECKS = {
    '"same" at stride 2': _convolved(0, 1),
    "zeros on one side only": _convolved(1, 0),
    # All numbers are negative: a padding of zeros would win.
    "ceil pooling, the largest": _pooled(np.max),
    # Divided by the pixels that are there, not by four.
    "ceil pooling, the mean": _pooled(np.mean),
}


def numpy(check):
    for name in CHECKS:

        @check(name)
        def lacking():
            check.lacks(
                "autograd.numpy.conv2d", "autograd has no convolution and no pooling"
            )


def pytorch(check):
    import torch
    from torch.nn import functional

    x6, x5 = torch.from_numpy(X6)[None, None], torch.from_numpy(X5)[None, None]
    kernel = torch.from_numpy(KERNEL)[None, None]

    @check('"same" at stride 2', refused_by=(RuntimeError, ValueError))
    def same():
        return functional.conv2d(x6, kernel, stride=2, padding="same")[0, 0].numpy()

    @check("zeros on one side only")
    def one_side():
        check.fallback("conv2d pads both sides alike: functional.pad before it")
        padded = functional.pad(x6, (1, 0, 1, 0))
        return functional.conv2d(padded, kernel, stride=2)[0, 0].numpy()

    @check("ceil pooling, the largest")
    def largest():
        return functional.max_pool2d(x5, 2, ceil_mode=True)[0, 0].numpy()

    @check("ceil pooling, the mean")
    def mean():
        return functional.avg_pool2d(x5, 2, ceil_mode=True)[0, 0].numpy()


def jax(check):
    from jax import lax

    def convolve(padding):
        found = lax.conv(X6[None, None], KERNEL[None, None], (2, 2), padding)
        return found[0, 0]

    def one_side():
        found = lax.conv_general_dilated(
            X6[None, None], KERNEL[None, None], (2, 2), [(1, 0), (1, 0)]
        )
        return found[0, 0]

    def pool(x, start, operation):
        return lax.reduce_window(x, start, operation, (2, 2), (2, 2), "SAME")

    check('"same" at stride 2')(lambda: convolve("SAME"))
    check("zeros on one side only")(one_side)
    check("ceil pooling, the largest")(lambda: pool(X5, -np.inf, lax.max))

    @check("ceil pooling, the mean")
    def mean():
        check.note("the sum of the windows, over that of an image of ones")
        return pool(X5, 0.0, lax.add) / pool(np.ones_like(X5), 0.0, lax.add)


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    def convolve(padding):
        layer = nnx.Conv(
            1, 1, (3, 3), 2, padding=padding, use_bias=False, rngs=nnx.Rngs(0)
        )
        layer.kernel[...] = jnp.asarray(KERNEL[:, :, None, None])
        return layer(X6[None, :, :, None])[0, :, :, 0]

    def pool(function, **options):
        found = function(X5[None, :, :, None], (2, 2), (2, 2), "SAME", **options)
        return found[0, :, :, 0]

    check('"same" at stride 2')(lambda: convolve("SAME"))
    check("zeros on one side only")(lambda: convolve([(1, 0), (1, 0)]))
    check("ceil pooling, the largest")(lambda: pool(nnx.max_pool))
    check("ceil pooling, the mean")(lambda: pool(nnx.avg_pool, count_include_pad=False))


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    def convolve(padding):
        layer = eqx.nn.Conv2d(
            1, 1, 3, 2, padding=padding, use_bias=False, key=jax.random.key(0)
        )
        layer = eqx.tree_at(lambda m: m.weight, layer, jnp.asarray(KERNEL[None, None]))
        return layer(X6[None])[0]

    check('"same" at stride 2')(lambda: convolve("SAME"))
    check("zeros on one side only")(lambda: convolve([(1, 0), (1, 0)]))
    check("ceil pooling, the largest")(
        lambda: eqx.nn.MaxPool2d(2, 2, use_ceil=True)(X5[None])[0]
    )
    check("ceil pooling, the mean")(
        lambda: eqx.nn.AvgPool2d(2, 2, use_ceil=True)(X5[None])[0]
    )


def tensorflow(check):
    import tensorflow as tf

    x6, x5 = X6[None, :, :, None], X5[None, :, :, None]
    kernel = KERNEL[:, :, None, None]

    def image(x):
        return x[0, :, :, 0].numpy()

    one = [[0, 0], [1, 0], [1, 0], [0, 0]]
    check('"same" at stride 2')(lambda: image(tf.nn.conv2d(x6, kernel, 2, "SAME")))
    check("zeros on one side only")(lambda: image(tf.nn.conv2d(x6, kernel, 2, one)))
    check("ceil pooling, the largest")(
        lambda: image(tf.nn.max_pool2d(x5, 2, 2, "SAME"))
    )
    check("ceil pooling, the mean")(lambda: image(tf.nn.avg_pool2d(x5, 2, 2, "SAME")))


def keras(check):
    import keras
    from keras import layers

    x6, x5 = X6[None, :, :, None], X5[None, :, :, None]

    def image(x):
        return keras.ops.convert_to_numpy(x)[0, :, :, 0]

    def convolve(padding, x):
        layer = layers.Conv2D(1, 3, 2, padding, use_bias=False)
        layer.build((None, None, None, 1))
        layer.set_weights([KERNEL[:, :, None, None]])
        return image(layer(x))

    @check('"same" at stride 2')
    def same():
        return convolve("same", x6)

    @check("zeros on one side only")
    def one_side():
        check.fallback("Conv2D pads both sides alike: ZeroPadding2D before it")
        return convolve("valid", layers.ZeroPadding2D(((1, 0), (1, 0)))(x6))

    check("ceil pooling, the largest")(
        lambda: image(layers.MaxPooling2D(2, padding="same")(x5))
    )
    check("ceil pooling, the mean")(
        lambda: image(layers.AveragePooling2D(2, padding="same")(x5))
    )


def paddle(check):
    import paddle
    from paddle.nn import functional

    x6, x5 = paddle.to_tensor(X6[None, None]), paddle.to_tensor(X5[None, None])
    kernel = paddle.to_tensor(KERNEL[None, None])

    def convolve(padding):
        return functional.conv2d(x6, kernel, stride=2, padding=padding)[0, 0].numpy()

    # Above, below, left, right.
    check('"same" at stride 2')(lambda: convolve("SAME"))
    check("zeros on one side only")(lambda: convolve([1, 0, 1, 0]))
    check("ceil pooling, the largest")(
        lambda: functional.max_pool2d(x5, 2, ceil_mode=True)[0, 0].numpy()
    )
    check("ceil pooling, the mean")(
        lambda: functional.avg_pool2d(x5, 2, ceil_mode=True)[0, 0].numpy()
    )


def mxnet(check):
    from mxnet import nd

    x5, kernel = nd.array(X5[None, None]), nd.array(KERNEL[None, None])

    # nd.Convolution pads both sides alike.
    def convolve(*pad):
        check.fallback("by nd.pad before it")
        x = nd.pad(nd.array(X6[None, None]), "constant", (0, 0, 0, 0) + pad)
        found = nd.Convolution(
            x, kernel, kernel=(3, 3), stride=(2, 2), num_filter=1, no_bias=True
        )
        return found[0, 0].asnumpy()

    def pool(kind):
        found = nd.Pooling(
            x5,
            kernel=(2, 2),
            stride=(2, 2),
            pool_type=kind,
            pooling_convention="full",
            count_include_pad=False,
        )
        return found[0, 0].asnumpy()

    check('"same" at stride 2')(lambda: convolve(0, 1, 0, 1))
    check("zeros on one side only")(lambda: convolve(1, 0, 1, 0))
    check("ceil pooling, the largest")(lambda: pool("max"))
    check("ceil pooling, the mean")(lambda: pool("avg"))


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    x6 = mx.array(X6[None, :, :, None])
    x5 = mx.array(X5[None, :, :, None])
    kernel = mx.array(KERNEL[None, :, :, None])

    def convolve(before, after):
        padding = ([before, before], [after, after])
        return np.array(mx.conv_general(x6, kernel, 2, padding))[0, :, :, 0]

    def padded(x, value):
        return mx.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=value)

    @check('"same" at stride 2')
    def same():
        check.fallback('no "same": one zero behind is asked for')
        return convolve(0, 1)

    check("zeros on one side only")(lambda: convolve(1, 0))

    @check("ceil pooling, the largest")
    def largest():
        check.fallback("pools drop the rest: padded before")
        return np.array(nn.MaxPool2d(2, 2)(padded(x5, -np.inf)))[0, :, :, 0]

    @check("ceil pooling, the mean")
    def mean():
        check.fallback(
            "pools drop the rest: padded before, and divided by that of ones"
        )
        pool = nn.AvgPool2d(2, 2)
        found = pool(padded(x5, 0)) / pool(padded(mx.ones_like(x5), 0))
        return np.array(found)[0, :, :, 0]


def chainer(check):
    from chainer import functions

    x5 = X5[None, None]

    # Convolutions pad both sides alike.
    def convolve(before, after):
        check.fallback("by functions.pad before it")
        sides = ((0, 0), (0, 0), (before, after), (before, after))
        x = functions.pad(X6[None, None], sides, "constant")
        return functions.convolution_2d(x, KERNEL[None, None], stride=2).array[0, 0]

    check('"same" at stride 2')(lambda: convolve(0, 1))
    check("zeros on one side only")(lambda: convolve(1, 0))
    check("ceil pooling, the largest")(
        lambda: functions.max_pooling_2d(x5, 2, cover_all=True).array[0, 0]
    )

    @check("ceil pooling, the mean")
    def mean():
        check.fallback(
            "average_pooling_2d drops the rest: padded, and divided by that of ones"
        )
        x = np.pad(x5, ((0, 0), (0, 0), (0, 1), (0, 1)), "constant")
        ones = np.pad(np.ones_like(x5), ((0, 0), (0, 0), (0, 1), (0, 1)), "constant")
        pool = functions.average_pooling_2d
        return (pool(x, 2) / pool(ones, 2)).array[0, 0]


def tinygrad(check):
    from tinygrad import Tensor

    x6, x5 = Tensor(X6[None, None]), Tensor(X5[None, None])
    kernel = Tensor(KERNEL[None, None])

    # Left, right, above, below.
    def convolve(padding):
        return x6.conv2d(kernel, stride=2, padding=padding).numpy()[0, 0]

    @check('"same" at stride 2')
    def same():
        check.fallback('no "same" at a stride: one zero behind is asked for')
        return convolve((0, 1, 0, 1))

    check("zeros on one side only")(lambda: convolve((1, 0, 1, 0)))
    check("ceil pooling, the largest")(
        lambda: x5.max_pool2d(2, ceil_mode=True).numpy()[0, 0]
    )
    check("ceil pooling, the mean")(
        lambda: x5.avg_pool2d(2, ceil_mode=True, count_include_pad=False).numpy()[0, 0]
    )


def cntk(check):
    import cntk as C

    x6, x5 = C.input_variable((1, 6, 6)), C.input_variable((1, 5, 5))
    kernel = C.constant(KERNEL[None, None])

    @check('"same" at stride 2')
    def same():
        y = C.convolution(kernel, x6, strides=(2, 2), auto_padding=[False, True, True])
        return y.eval({x6: X6[None, None]})[0, 0]

    @check("zeros on one side only")
    def one_side():
        padded = C.pad(x6, [(0, 0), (1, 0), (1, 0)])
        y = C.convolution(kernel, padded, strides=(2, 2), auto_padding=[False])
        return y.eval({x6: X6[None, None]})[0, 0]

    def pooled(kind):
        y = C.pooling(x5, kind, (2, 2), strides=(2, 2), ceil_out_dim=True)
        return y.eval({x5: X5[None, None]})[0, 0]

    check("ceil pooling, the largest")(lambda: pooled(C.MAX_POOLING))
    check("ceil pooling, the mean")(lambda: pooled(C.AVG_POOLING))


def caffe2(check):
    from caffe2.python import core, workspace

    def run(kind, *arrays, **options):
        names = ["x", "w"][: len(arrays)]
        for name, array in zip(names, arrays):
            workspace.FeedBlob(name, array[None, None])
        workspace.RunOperatorOnce(core.CreateOperator(kind, names, "y", **options))
        return workspace.FetchBlob("y")[0, 0]

    @check('"same" at stride 2')
    def same():
        check.note("legacy_pad=2, which is SAME")
        return run("Conv", X6, KERNEL, kernel=3, stride=2, legacy_pad=2)

    @check("zeros on one side only")
    def one_side():
        return run(
            "Conv", X6, KERNEL, kernel=3, stride=2, pad_t=1, pad_l=1, pad_b=0, pad_r=0
        )

    def pooled(kind):
        check.note("legacy_pad=3, which is Caffe's own")
        return run(kind, X5, kernel=2, stride=2, legacy_pad=3)

    check("ceil pooling, the largest")(lambda: pooled("MaxPool"))
    check("ceil pooling, the mean")(lambda: pooled("AveragePool"))


def caffe(check):
    import caffe
    from caffe import layers as L
    from caffe import params as P

    def run(image, layer, kernel=None):
        n = caffe.NetSpec()
        n.data = L.Input(shape={"dim": [1, 1] + list(image.shape)})
        n.found = layer(n.data)
        with check.folder() as folder:
            with open(folder + "/net.prototxt", "w") as file:
                file.write(str(n.to_proto()))
            net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
        if kernel is not None:
            net.params["found"][0].data[...] = kernel
        return net.forward(data=image[None, None])["found"][0, 0]

    # It has one width of zeros for both sides, and no layer that puts any beside it.
    def convolved(data):
        return L.Convolution(
            data, num_output=1, kernel_size=3, stride=2, pad=1, bias_term=False
        )

    check('"same" at stride 2')(lambda: run(X6, convolved, KERNEL))

    # With a zero before and behind: the one behind is never looked at.
    check("zeros on one side only")(lambda: run(X6, convolved, KERNEL))

    def pooled(kind):
        return run(X5, lambda data: L.Pooling(data, pool=kind, kernel_size=2, stride=2))

    check("ceil pooling, the largest")(lambda: pooled(P.Pooling.MAX))
    check("ceil pooling, the mean")(lambda: pooled(P.Pooling.AVE))
