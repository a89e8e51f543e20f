"""What float32 is multiplied in.

How many binary places of 1 + 2^-k survive a product of float32 matrices? 23 are
float32's own; 10 would be TF32's, 7 bfloat16's.
"""

import numpy as np

CHECKS = {"places in a matrix product": 23, "places in a convolution": 23}

SIZE = 64


def _places(product):
    """The largest k for which 1 + 2^-k times 1 is told from 1."""
    found = 0
    for k in range(1, 30):
        value = np.float32(1 + 2.0**-k)
        if float(product(value)) == 1 + 2.0**-k:
            found = k
    return found


def _matrix(value):
    """Large enough for the kernels of large matrices; one entry is of interest."""
    matrix = np.zeros((SIZE, SIZE), "float32")
    matrix[0, 0] = value
    return matrix


def _image(value):
    """(N, C, H, W), the value in the middle of one channel."""
    image = np.zeros((1, 16, 9, 9), "float32")
    image[0, 0, 4, 4] = value
    return image


#: (O, I, H, W): the first output channel takes the middle of the first input channel.
KERNEL = np.zeros((16, 16, 3, 3), "float32")
KERNEL[0, 0, 1, 1] = 1
ONE = _matrix(1)


def numpy(check):
    @check("places in a matrix product")
    def product():
        return _places(lambda v: (_matrix(v) @ ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        check.fallback("a convolution made of nine matrix products: NumPy has none")

        def convolved(v):
            image, total = _image(v)[0], 0
            for i in range(3):
                for j in range(3):
                    part = image[:, i : i + 7, j : j + 7].reshape(16, -1)
                    total = total + KERNEL[:, :, i, j] @ part
            return total.reshape(16, 7, 7)[0, 3, 3]

        return _places(convolved)


def pytorch(check):
    import torch

    @check("places in a matrix product")
    def product():
        check.note(
            "set_float32_matmul_precision: " + torch.get_float32_matmul_precision()
        )
        return _places(lambda v: (torch.tensor(_matrix(v)) @ torch.tensor(ONE))[0, 0])

    @check("places in a convolution")
    def convolution():
        kernel = torch.tensor(KERNEL)
        return _places(
            lambda v: torch.conv2d(torch.tensor(_image(v)), kernel)[0, 0, 3, 3]
        )


def jax(check):
    import jax
    import jax.numpy as jnp

    @check("places in a matrix product")
    def product():
        product = jax.jit(jnp.matmul)
        return _places(lambda v: product(_matrix(v), ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        convolved = jax.jit(lambda x: jax.lax.conv(x, KERNEL, (1, 1), "VALID"))
        return _places(lambda v: convolved(_image(v))[0, 0, 3, 3])


def tensorflow(check):
    import tensorflow as tf

    @check("places in a matrix product")
    def product():
        return _places(lambda v: tf.matmul(_matrix(v), ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        kernel = KERNEL.transpose(2, 3, 1, 0)

        def convolved(v):
            image = _image(v).transpose(0, 2, 3, 1)
            return tf.nn.conv2d(image, kernel, 1, "VALID")[0, 3, 3, 0]

        return _places(convolved)


def keras(check):
    from keras import ops

    @check("places in a matrix product")
    def product():
        return _places(lambda v: ops.matmul(_matrix(v), ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        kernel = ops.convert_to_tensor(KERNEL.transpose(2, 3, 1, 0))

        def convolved(v):
            image = ops.convert_to_tensor(_image(v).transpose(0, 2, 3, 1))
            return ops.conv(image, kernel)[0, 3, 3, 0]

        return _places(convolved)


def paddle(check):
    import paddle

    @check("places in a matrix product")
    def product():
        one = paddle.to_tensor(ONE)
        return _places(lambda v: (paddle.to_tensor(_matrix(v)) @ one)[0, 0])

    @check("places in a convolution")
    def convolution():
        kernel = paddle.to_tensor(KERNEL)

        def convolved(v):
            image = paddle.to_tensor(_image(v))
            return paddle.nn.functional.conv2d(image, kernel)[0, 0, 3, 3]

        return _places(convolved)


def mlx(check):
    import mlx.core as mx

    @check("places in a matrix product")
    def product():
        one = mx.array(ONE)
        return _places(lambda v: (mx.array(_matrix(v)) @ one)[0, 0].item())

    @check("places in a convolution")
    def convolution():
        kernel = mx.array(KERNEL.transpose(0, 2, 3, 1))

        def convolved(v):
            image = mx.array(_image(v).transpose(0, 2, 3, 1))
            return mx.conv2d(image, kernel)[0, 3, 3, 0].item()

        return _places(convolved)


def theano(check):
    import theano
    import theano.tensor as T

    @check("places in a matrix product")
    def product():
        x, y = T.matrix("x", dtype="float32"), T.matrix("y", dtype="float32")
        function = theano.function([x, y], T.dot(x, y))
        return _places(lambda v: function(_matrix(v), ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        x = T.tensor4("x", dtype="float32")
        convolved = T.nnet.conv2d(x, KERNEL, filter_flip=False)
        function = theano.function([x], convolved)
        return _places(lambda v: function(_image(v))[0, 0, 3, 3])


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    @check("places in a matrix product")
    def product():
        x, y = T.matrix("x", dtype="float32"), T.matrix("y", dtype="float32")
        function = pytensor.function([x, y], T.dot(x, y))
        return _places(lambda v: function(_matrix(v), ONE)[0, 0])

    @check("places in a convolution")
    def convolution():
        from pytensor.tensor.signal import convolve2d

        check.note("of one image; there are none with channels")
        x = T.matrix("x", dtype="float32")
        convolved = convolve2d(x, KERNEL[0, 0], mode="valid", method="direct")
        function = pytensor.function([x], convolved, mode="FAST_COMPILE")
        return _places(lambda v: function(_image(v)[0, 0])[3, 3])


def tensorflow1(check):
    import tensorflow as tf

    x, y = (
        tf.placeholder(tf.float32, (SIZE, SIZE)),
        tf.placeholder(tf.float32, (SIZE, SIZE)),
    )
    image = tf.placeholder(tf.float32, (1, 9, 9, 16))
    kernel = KERNEL.transpose(2, 3, 1, 0)
    multiplied = tf.matmul(x, y)
    convolved = tf.nn.conv2d(image, kernel, strides=1, padding="VALID")

    with tf.Session() as session:

        @check("places in a matrix product")
        def product():
            return _places(
                lambda v: session.run(multiplied, {x: _matrix(v), y: ONE})[0, 0]
            )

        @check("places in a convolution")
        def convolution():
            def one(v):
                given = {image: _image(v).transpose(0, 2, 3, 1)}
                return session.run(convolved, given)[0, 3, 3, 0]

            return _places(one)


def chainer(check):
    import chainer.functions as F

    @check("places in a matrix product")
    def product():
        return _places(lambda v: F.matmul(_matrix(v), ONE)[0, 0].array)

    @check("places in a convolution")
    def convolution():
        return _places(lambda v: F.convolution_2d(_image(v), KERNEL)[0, 0, 3, 3].array)


def mxnet(check):
    from mxnet import nd

    @check("places in a matrix product")
    def product():
        one = nd.array(ONE)
        return _places(lambda v: nd.dot(nd.array(_matrix(v)), one)[0, 0].asscalar())

    @check("places in a convolution")
    def convolution():
        kernel = nd.array(KERNEL)

        def convolved(v):
            y = nd.Convolution(
                nd.array(_image(v)), kernel, kernel=(3, 3), num_filter=16, no_bias=True
            )
            return y[0, 0, 3, 3].asscalar()

        return _places(convolved)


def dynet(check):
    import dynet as dy

    @check("places in a matrix product")
    def product():
        def one(v):
            dy.renew_cg()
            return (dy.inputTensor(_matrix(v)) * dy.inputTensor(ONE)).npvalue()[0, 0]

        return _places(one)

    @check("places in a convolution")
    def convolution():
        def one(v):
            dy.renew_cg()
            image = dy.inputTensor(_image(v)[0].transpose(1, 2, 0))
            kernel = dy.inputTensor(KERNEL.transpose(2, 3, 1, 0))
            return dy.conv2d(image, kernel, [1, 1], is_valid=True).npvalue()[3, 3, 0]

        return _places(one)


def cntk(check):
    import cntk as C

    @check("places in a matrix product")
    def matrix():
        a, b = C.parameter((SIZE, SIZE)), C.parameter(init=ONE)
        product = C.times(a, b)

        def entry(value):
            a.value = _matrix(value)
            return product.eval({})[0, 0]

        return _places(entry)

    @check("places in a convolution")
    def convolution():
        x = C.input_variable(_image(1).shape[1:])
        y = C.convolution(C.constant(KERNEL), x, auto_padding=[False, True, True])
        return _places(lambda value: y.eval({x: _image(value)})[0, 0, 4, 4])


def caffe2(check):
    from caffe2.python import core, workspace

    @check("places in a matrix product")
    def matrix():
        workspace.FeedBlob("one", ONE)
        product = core.CreateOperator("MatMul", ["a", "one"], "y")

        def entry(value):
            workspace.FeedBlob("a", _matrix(value))
            workspace.RunOperatorOnce(product)
            return workspace.FetchBlob("y")[0, 0]

        return _places(entry)

    @check("places in a convolution")
    def convolution():
        workspace.FeedBlob("kernel", KERNEL)
        convolved = core.CreateOperator("Conv", ["x", "kernel"], "y", kernel=3, pad=1)

        def entry(value):
            workspace.FeedBlob("x", _image(value))
            workspace.RunOperatorOnce(convolved)
            return workspace.FetchBlob("y")[0, 0, 4, 4]

        return _places(entry)


def caffe(check):
    import caffe
    from caffe import layers as L

    def network(shape, layer, weights):
        n = caffe.NetSpec()
        n.data = L.Input(shape={"dim": list(shape)})
        n.found = layer(n.data)
        with check.folder() as folder:
            with open(folder + "/net.prototxt", "w") as file:
                file.write(str(n.to_proto()))
            net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
        net.params["found"][0].data[...] = weights
        return net

    @check("places in a matrix product")
    def matrix():
        def layer(data):
            return L.InnerProduct(data, num_output=SIZE, bias_term=False)

        net = network((SIZE, SIZE), layer, ONE)
        return _places(lambda value: net.forward(data=_matrix(value))["found"][0, 0])

    @check("places in a convolution")
    def convolution():
        def layer(data):
            return L.Convolution(
                data, num_output=16, kernel_size=3, pad=1, bias_term=False
            )

        net = network(_image(1).shape, layer, KERNEL)
        return _places(lambda v: net.forward(data=_image(v))["found"][0, 0, 4, 4])


def tinygrad(check):
    from tinygrad import Tensor

    one, kernel = Tensor(ONE), Tensor(KERNEL)

    @check("places in a matrix product")
    def matrix():
        return _places(lambda v: (Tensor(_matrix(v)) @ one)[0, 0].item())

    @check("places in a convolution")
    def convolution():
        def entry(value):
            return Tensor(_image(value)).conv2d(kernel, padding=1)[0, 0, 4, 4].item()

        return _places(entry)
