"""Convolutional networks.

A grouped, a dilated and a strided convolution in two dimensions with given kernels:
values and the gradient of the kernel, against sums written out below.
"""

import numpy as np

_random = np.random.RandomState(1)


def _some(*shape):
    return (_random.randint(-48, 49, shape) / 64.0).astype("float32")


#: Channels first: (batch, channels, height, width).
X = _some(2, 4, 7, 8)
#: (outputs, inputs of a group, height, width), groups, dilation, stride.
GROUPED = _some(6, 2, 3, 3), 2, 1, 1
DILATED = _some(3, 4, 3, 3), 1, 2, 1
STRIDED = _some(3, 4, 3, 3), 1, 1, 2


def _windows(kernel, groups, dilation, stride):
    """(output, tap) pairs: where each tap of the kernel looks."""
    high = (X.shape[2] - dilation * (kernel.shape[2] - 1) - 1) // stride + 1
    wide = (X.shape[3] - dilation * (kernel.shape[3] - 1) - 1) // stride + 1
    for o, i, a, b in np.ndindex(*kernel.shape):
        channel = o // (kernel.shape[0] // groups) * kernel.shape[1] + i
        rows = slice(a * dilation, a * dilation + stride * high, stride)
        columns = slice(b * dilation, b * dilation + stride * wide, stride)
        yield (o, i, a, b), X[:, channel, rows, columns].astype("float64")


def _convolved(kernel, groups, dilation, stride):
    found = {}
    for index, window in _windows(kernel, groups, dilation, stride):
        found[index[0]] = found.get(index[0], 0) + kernel[index] * window
    return np.stack([found[o] for o in sorted(found)], axis=1)


VALUES = [_convolved(*case) for case in (GROUPED, DILATED, STRIDED)]
#: The loss is the sum of the outputs times these.
LOSSES = [_some(*value.shape) for value in VALUES]


def _gradient(case, loss):
    gradient = np.zeros(case[0].shape)
    for index, window in _windows(*case):
        gradient[index] = (loss[:, index[0]] * window).sum()
    return gradient


CHECKS = {
    "grouped": VALUES[0],
    "dilated": VALUES[1],
    "strided": VALUES[2],
    "gradient of the grouped": _gradient(GROUPED, LOSSES[0]),
    "gradient of the dilated": _gradient(DILATED, LOSSES[1]),
    "gradient of the strided": _gradient(STRIDED, LOSSES[2]),
}
_CASES = tuple(
    zip(("grouped", "dilated", "strided"), (GROUPED, DILATED, STRIDED), LOSSES)
)


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    # One product per tap of the kernel: autograd.scipy.signal.convolve knows neither
    # groups nor dilation nor stride.
    def convolve(x, kernel, groups, dilation, stride):
        outputs, inputs, taps, _ = kernel.shape
        high = (x.shape[2] - dilation * (taps - 1) - 1) // stride + 1
        wide = (x.shape[3] - dilation * (taps - 1) - 1) // stride + 1
        x = x.reshape((len(x), groups, inputs) + x.shape[2:])
        k = anp.reshape(kernel, (groups, outputs // groups, inputs, taps, taps))
        total = 0
        for a in range(taps):
            for b in range(taps):
                rows = slice(a * dilation, a * dilation + stride * high, stride)
                columns = slice(b * dilation, b * dilation + stride * wide, stride)
                window = x[:, :, :, rows, columns]
                total = total + anp.einsum("ngihw,goi->ngohw", window, k[..., a, b])
        return anp.reshape(total, (len(x), outputs, high, wide))

    by_hand = "no convolution of this kind: a product per tap, in Python"
    for name, (kernel, groups, dilation, stride), loss in _CASES:

        @check(name)
        def value():
            check.fallback(by_hand)
            return convolve(X, kernel, groups, dilation, stride)

        @check("gradient of the " + name)
        def gradient():
            check.fallback(by_hand)
            return grad(
                lambda k: anp.sum(convolve(X, k, groups, dilation, stride) * loss)
            )(kernel.astype("float64"))


def pytorch(check):
    import torch
    from torch.nn import functional

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        k = torch.tensor(kernel, requires_grad=True)
        found = functional.conv2d(
            torch.from_numpy(X), k, groups=groups, dilation=dilation, stride=stride
        )

        @check(name)
        def value():
            return found.detach().numpy()

        @check("gradient of the " + name)
        def gradient():
            found.backward(torch.from_numpy(loss))
            return k.grad.numpy()


def jax(check):
    import jax
    import jax.numpy as jnp

    for name, (kernel, groups, dilation, stride), loss in _CASES:

        def convolve(k):
            return jax.lax.conv_general_dilated(
                X,
                k,
                window_strides=(stride, stride),
                padding="VALID",
                rhs_dilation=(dilation, dilation),
                dimension_numbers=("NCHW", "OIHW", "NCHW"),
                feature_group_count=groups,
            )

        @check(name)
        def value():
            return convolve(kernel)

        @check("gradient of the " + name)
        def gradient():
            return jax.grad(lambda k: jnp.sum(convolve(k) * loss))(jnp.asarray(kernel))


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        layer = nnx.Conv(
            X.shape[1],
            len(kernel),
            (3, 3),
            strides=stride,
            padding="VALID",
            kernel_dilation=dilation,
            feature_group_count=groups,
            use_bias=False,
            rngs=nnx.Rngs(0),
        )
        layer.kernel[...] = jnp.asarray(kernel.transpose(2, 3, 1, 0))
        last = X.transpose(0, 2, 3, 1)

        @check(name)
        def value():
            return layer(last).transpose(0, 3, 1, 2)

        @check("gradient of the " + name)
        def gradient():
            weight = loss.transpose(0, 2, 3, 1)
            found = nnx.grad(lambda m: jnp.sum(m(last) * weight))(layer)
            return found["kernel"][...].transpose(3, 2, 0, 1)


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        layer = eqx.nn.Conv2d(
            X.shape[1],
            len(kernel),
            3,
            stride=stride,
            dilation=dilation,
            groups=groups,
            use_bias=False,
            key=jax.random.key(0),
        )
        layer = eqx.tree_at(lambda m: m.weight, layer, jnp.asarray(kernel))

        @check(name)
        def value():
            return jax.vmap(layer)(X)

        @check("gradient of the " + name)
        def gradient():
            return eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m)(X) * loss))(
                layer
            ).weight


def tensorflow(check):
    import tensorflow as tf

    for name, (kernel, _, dilation, stride), loss in _CASES:
        # The groups are told from the shapes of input and kernel.
        def convolve(k):
            return tf.nn.conv2d(
                X.transpose(0, 2, 3, 1), k, stride, "VALID", dilations=dilation
            )

        k = tf.Variable(kernel.transpose(2, 3, 1, 0))

        @check(name)
        def value():
            return tf.transpose(convolve(k), (0, 3, 1, 2)).numpy()

        def backward():
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(convolve(k) * loss.transpose(0, 2, 3, 1))
            return tape.gradient(total, k)

        @check("gradient of the " + name)
        def gradient():
            try:
                found = backward()
            except tf.errors.InvalidArgumentError as error:
                check.note("only compiled by XLA; else: %s" % error.message[-120:])
                found = tf.function(backward, jit_compile=True)()
            return tf.transpose(found, (3, 2, 0, 1)).numpy()


def keras(check):
    import keras

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        model = keras.Sequential(
            [
                keras.Input((7, 8, 4)),
                keras.layers.Conv2D(
                    len(kernel),
                    3,
                    strides=stride,
                    dilation_rate=dilation,
                    groups=groups,
                    use_bias=False,
                ),
            ]
        )
        model.set_weights([kernel.transpose(2, 3, 1, 0)])
        last = X.transpose(0, 2, 3, 1)

        @check(name)
        def value():
            return model.predict(last, verbose=0).transpose(0, 3, 1, 2)

        # A step of SGD at rate 1 shows the gradient, whatever the engine.
        @check("gradient of the " + name)
        def gradient():
            model.compile(
                keras.optimizers.SGD(1.0),
                loss=lambda true, found: keras.ops.sum(true * found),
            )
            model.train_on_batch(last, loss.transpose(0, 2, 3, 1))
            moved = kernel.transpose(2, 3, 1, 0) - model.get_weights()[0]
            return moved.transpose(3, 2, 0, 1)


def paddle(check):
    import paddle
    from paddle.nn import functional

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        k = paddle.to_tensor(kernel, stop_gradient=False)
        found = functional.conv2d(
            paddle.to_tensor(X), k, groups=groups, dilation=dilation, stride=stride
        )

        @check(name)
        def value():
            return found.numpy()

        @check("gradient of the " + name)
        def gradient():
            (found * paddle.to_tensor(loss)).sum().backward()
            return k.grad.numpy()


def mxnet(check):
    from mxnet import autograd, nd

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        k = nd.array(kernel)
        k.attach_grad()
        with autograd.record():
            found = nd.Convolution(
                nd.array(X),
                k,
                kernel=(3, 3),
                num_filter=len(kernel),
                num_group=groups,
                dilate=(dilation, dilation),
                stride=(stride, stride),
                no_bias=True,
            )

        @check(name)
        def value():
            return found.asnumpy()

        @check("gradient of the " + name)
        def gradient():
            found.backward(nd.array(loss))
            return k.grad.asnumpy()


def mlx(check):
    import mlx.core as mx

    # Channels last, kernels as (outputs, height, width, inputs of a group).
    for name, (kernel, groups, dilation, stride), loss in _CASES:

        def convolve(k):
            x = mx.array(X.transpose(0, 2, 3, 1))
            return mx.conv2d(x, k, stride, dilation=dilation, groups=groups)

        k = mx.array(kernel.transpose(0, 2, 3, 1))
        weight = mx.array(loss.transpose(0, 2, 3, 1))

        @check(name, refused_by=(ValueError,))
        def value():
            return np.array(convolve(k)).transpose(0, 3, 1, 2)

        @check("gradient of the " + name, refused_by=(ValueError,))
        def gradient():
            found = mx.grad(lambda k: (convolve(k) * weight).sum())(k)
            return np.array(found).transpose(0, 3, 1, 2)


def chainer(check):
    import chainer
    from chainer import functions

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        k = chainer.Parameter(kernel.copy())
        found = functions.convolution_2d(
            X, k, stride=stride, dilate=dilation, groups=groups
        )

        @check(name)
        def value():
            return found.array

        @check("gradient of the " + name)
        def gradient():
            functions.sum(found * loss).backward()
            return k.grad


def tinygrad(check):
    from tinygrad import Tensor

    for name, (kernel, groups, dilation, stride), loss in _CASES:
        k = Tensor(kernel)
        found = Tensor(X).conv2d(k, groups=groups, dilation=dilation, stride=stride)

        @check(name)
        def value():
            return found.numpy()

        @check("gradient of the " + name)
        def gradient():
            (found * Tensor(loss)).sum().backward()
            return k.grad.numpy()


def cntk(check):
    import cntk as C

    x = C.input_variable(X.shape[1:])

    cases = {name: case for name, case, _ in _CASES}

    def convolved(name):
        kernel, groups, dilation, stride = cases[name]
        w = C.parameter(init=kernel)
        y = C.convolution(
            w,
            x,
            strides=(stride, stride),
            dilation=(dilation, dilation),
            groups=groups,
            auto_padding=[False, False, False],
        )
        return w, y

    for name, _, loss in _CASES:

        @check(name, refused_by=(RuntimeError, ValueError))
        def value(name=name):
            return convolved(name)[1].eval({x: X})

        @check("gradient of the " + name, refused_by=(RuntimeError, ValueError))
        def gradient(name=name, loss=loss):
            w, y = convolved(name)
            y.eval({x: X})
            weights = C.input_variable(loss.shape[1:])
            return C.reduce_sum(y * weights).grad({x: X, weights: loss}, wrt=[w])


def caffe2(check):
    from caffe2.python import core, workspace

    def convolved(case, loss=None):
        kernel, groups, dilation, stride = case
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", X)
        workspace.FeedBlob("w", kernel)
        net = core.Net("convolution")
        y = net.Conv(
            ["x", "w"], "y", kernel=3, group=groups, dilation=dilation, stride=stride
        )
        if loss is None:
            workspace.RunNetOnce(net)
            return workspace.FetchBlob(y)
        workspace.FeedBlob("weights", loss)
        total = net.SumElements(net.Mul([y, "weights"], "weighed"), "total")
        gradients = net.AddGradientOperators([total])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(gradients["w"])

    for name, case, loss in _CASES:
        check(name)(lambda: convolved(case))
        check("gradient of the " + name)(lambda: convolved(case, loss))


def caffe(check):
    import caffe
    from caffe import layers as L

    def convolved(kernel, groups, dilation, stride):
        n = caffe.NetSpec()
        n.data = L.Input(shape={"dim": list(X.shape)})
        n.conv = L.Convolution(
            n.data,
            num_output=len(kernel),
            kernel_size=3,
            group=groups,
            dilation=dilation,
            stride=stride,
            bias_term=False,
        )
        with check.folder() as folder:
            with open(folder + "/net.prototxt", "w") as file:
                file.write(str(n.to_proto()))
            net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
        net.params["conv"][0].data[...] = kernel
        return net, net.forward(data=X)["conv"]

    for name, case, loss in _CASES:
        check(name)(lambda: convolved(*case)[1])

        @check("gradient of the " + name)
        def gradient():
            if not hasattr(caffe.Net, "backward"):
                check.not_here("Caffe itself: OpenCV runs its networks forward only")
            net, _ = convolved(*case)
            net.blobs["conv"].diff[...] = loss
            net.backward()
            return net.params["conv"][0].diff
