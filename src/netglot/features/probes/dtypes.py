"""Number formats.

Does arithmetic in each format round as that format does, or is another one behind the
name?
"""

import numpy as np

#: Differences that float32 cannot tell, in units of 2 ** -40.
TINY = 2.0**-40

CHECKS = {
    # (1 + 2^-40) - 1; float32 says 0
    "float64": [1.0],
    # 2048 + 1, a third, 60000 + 60000; float32 says 2049, 0.33333334, 120000
    "float16": lambda v: _same(v, [2048.0, 0.333251953125, np.inf]),
    # 256 + 1, a third, 60000 + 60000
    "bfloat16": lambda v: _same(v, [256.0, 0.333984375, 119808.0]),
    # 0.3 and 17 rounded to four significant bits
    "float8 (e4m3)": lambda v: _same(v, [0.3125, 16.0]),
    # 100 + 100 and 7 * 8
    "int8": [-56.0, 56.0],
    # real and imaginary part of (1 + 2i) (3 - i) and of exp(i pi / 2)
    "complex": [5.0, 5.0, 0.0, 1.0],
}


def _same(found, right):
    return [float(v) for v in found] == right


CHECKS["float16"].__doc__ = "2048 + 1, a third, 60000 + 60000 as float16 rounds them"
CHECKS["bfloat16"].__doc__ = "256 + 1, a third, 60000 + 60000 as bfloat16 rounds them"
CHECKS["float8 (e4m3)"].__doc__ = "0.3 and 17 as float8 e4m3 rounds them"


def numpy(check):
    @check("float64")
    def double():
        return (np.array([1 + TINY], "float64") - 1) / TINY

    @check("float16")
    def half():
        with np.errstate(over="ignore"):
            x = np.array([2048, 1, 60000], "float16")
            return [x[0] + x[1], x[1] / np.float16(3), x[2] + x[2]]

    @check("bfloat16")
    def brain():
        check.lacks("numpy.bfloat16", "NumPy has none; ml_dtypes adds one")

    @check("float8 (e4m3)")
    def quarter():
        check.lacks("numpy.float8_e4m3fn", "NumPy has none; ml_dtypes adds one")

    @check("int8")
    def whole():
        x = np.array([100, 7, 8], "int8")
        return [(x[:1] + x[:1])[0], x[1] * x[2]]

    @check("complex")
    def numbers():
        product = np.complex64(1 + 2j) * np.complex64(3 - 1j)
        turned = np.exp(np.complex64(0.5j * np.pi))
        return [product.real, product.imag, turned.real, turned.imag]


def pytorch(check):
    import torch

    @check("float64")
    def double():
        return (torch.tensor([1 + TINY], dtype=torch.float64) - 1) / TINY

    @check("float16")
    def half():
        x = torch.tensor([2048, 1, 60000], dtype=torch.float16)
        return [v.item() for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("bfloat16")
    def brain():
        x = torch.tensor([256, 1, 60000], dtype=torch.bfloat16)
        return [v.item() for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("float8 (e4m3)")
    def quarter():
        check.note("conversions and scaled products; no addition")
        return torch.tensor([0.3, 17]).to(torch.float8_e4m3fn).float()

    @check("int8")
    def whole():
        x = torch.tensor([100, 7, 8], dtype=torch.int8)
        return [(x[0] + x[0]).item(), (x[1] * x[2]).item()]

    @check("complex")
    def numbers():
        product = torch.tensor(1 + 2j) * torch.tensor(3 - 1j)
        turned = torch.exp(torch.tensor(0.5j * np.pi))
        return [product.real, product.imag, turned.real, turned.imag]


def jax(check):
    import jax
    import jax.numpy as jnp

    @check("float64")
    def double():
        check.note("off unless jax_enable_x64 is set")
        with jax.enable_x64(True):
            return (jnp.array([1 + TINY], jnp.float64) - 1) / TINY

    @check("float16")
    def half():
        x = jnp.array([2048, 1, 60000], jnp.float16)
        return [float(v) for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("bfloat16")
    def brain():
        x = jnp.array([256, 1, 60000], jnp.bfloat16)
        return [float(v) for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("float8 (e4m3)")
    def quarter():
        x = jnp.array([0.3, 17], jnp.float32).astype(jnp.float8_e4m3fn)
        return x.astype(jnp.float32)

    @check("int8")
    def whole():
        x = jnp.array([100, 7, 8], jnp.int8)
        return [int(x[0] + x[0]), int(x[1] * x[2])]

    @check("complex")
    def numbers():
        product = jnp.complex64(1 + 2j) * jnp.complex64(3 - 1j)
        turned = jnp.exp(jnp.complex64(0.5j * np.pi))
        return [product.real, product.imag, turned.real, turned.imag]


def tensorflow(check):
    import tensorflow as tf

    @check("float64")
    def double():
        return (tf.constant([1 + TINY], tf.float64) - 1) / TINY

    @check("float16")
    def half():
        x = tf.constant([2048, 1, 60000], tf.float16)
        return [float(v) for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("bfloat16")
    def brain():
        x = tf.constant([256, 1, 60000], tf.bfloat16)
        return [float(v) for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("float8 (e4m3)")
    def quarter():
        eighths = tf.dtypes.experimental.float8_e4m3fn
        return tf.cast(tf.cast(tf.constant([0.3, 17]), eighths), tf.float32)

    @check("int8")
    def whole():
        x = tf.constant([100, 7, 8], tf.int8)
        return [int(x[0] + x[0]), int(x[1] * x[2])]

    @check("complex")
    def numbers():
        product = tf.constant(1 + 2j, tf.complex64) * tf.constant(3 - 1j, tf.complex64)
        turned = tf.exp(tf.constant(0.5j * np.pi, tf.complex64))
        parts = [f(v) for v in (product, turned) for f in (tf.math.real, tf.math.imag)]
        return [float(v) for v in parts]


def _doubles(check):
    """JAX has float64 where it is asked for; without that, Keras says nothing."""
    import contextlib

    import keras

    if keras.backend.backend() != "jax":
        return contextlib.ExitStack()
    import jax

    check.note("float32 without a word unless jax_enable_x64 is set")
    return jax.enable_x64(True)


def keras(check):
    from keras import ops

    def numbers_of(values):
        return [float(ops.convert_to_numpy(ops.cast(v, "float32"))) for v in values]

    @check("float64")
    def double():
        with _doubles(check):
            x = ops.convert_to_tensor(np.array([1 + TINY]), "float64")
            return ops.convert_to_numpy((x - 1) / TINY)

    @check("float16")
    def half():
        x = ops.cast(ops.convert_to_tensor([2048.0, 1, 60000]), "float16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("bfloat16")
    def brain():
        x = ops.cast(ops.convert_to_tensor([256.0, 1, 60000]), "bfloat16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("float8 (e4m3)")
    def quarter():
        check.note("conversions, as its float8 quantization uses them")
        x = ops.cast(ops.convert_to_tensor([0.3, 17.0]), "float8_e4m3fn")
        return ops.convert_to_numpy(ops.cast(x, "float32"))

    @check("int8")
    def whole():
        x = ops.convert_to_tensor([100, 7, 8], "int8")
        return numbers_of((x[0] + x[0], x[1] * x[2]))

    @check("complex")
    def complex_numbers():
        product = ops.multiply(
            ops.view_as_complex(ops.convert_to_tensor([1.0, 2.0])),
            ops.view_as_complex(ops.convert_to_tensor([3.0, -1.0])),
        )
        turned = ops.exp(ops.view_as_complex(ops.convert_to_tensor([0.0, np.pi / 2])))
        return numbers_of(f(v) for v in (product, turned) for f in (ops.real, ops.imag))


def paddle(check):
    import paddle

    def numbers_of(values):
        return [v.astype("float32").item() for v in values]

    @check("float64")
    def double():
        return ((paddle.to_tensor([1 + TINY], "float64") - 1) / TINY).numpy()

    @check("float16", refused_by=(RuntimeError,))
    def half():
        x = paddle.to_tensor([2048.0, 1, 60000], "float16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("bfloat16", refused_by=(RuntimeError,))
    def brain():
        x = paddle.to_tensor([256.0, 1, 60000], "bfloat16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("float8 (e4m3)")
    def quarter():
        x = paddle.to_tensor([0.3, 17.0]).astype(paddle.float8_e4m3fn)
        return x.astype("float32").numpy()

    @check("int8", refused_by=(RuntimeError,))
    def whole():
        x = paddle.to_tensor([100, 7, 8], "int8")
        return [(x[0] + x[0]).item(), (x[1] * x[2]).item()]

    @check("complex")
    def numbers():
        product = paddle.to_tensor(1 + 2j) * paddle.to_tensor(3 - 1j)
        turned = paddle.exp(paddle.to_tensor(0.5j * np.pi))
        return [
            v.item()
            for v in (product.real(), product.imag(), turned.real(), turned.imag())
        ]


def mlx(check):
    import mlx.core as mx

    def numbers_of(values):
        return [v.astype(mx.float32).item() for v in values]

    @check("float64")
    def double():
        check.note("on a processor only")
        x = mx.array(np.array([1 + TINY]), dtype=mx.float64)
        with mx.stream(mx.cpu):
            return np.array((x - 1) / TINY)

    @check("float16")
    def half():
        x = mx.array([2048.0, 1, 60000], dtype=mx.float16)
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("bfloat16")
    def brain():
        x = mx.array([256.0, 1, 60000], dtype=mx.bfloat16)
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("float8 (e4m3)")
    def quarter():
        check.note("as bytes in uint8: mx.to_fp8 and mx.from_fp8")
        return np.array(mx.from_fp8(mx.to_fp8(mx.array([0.3, 17.0])), mx.float32))

    @check("int8")
    def whole():
        x = mx.array([100, 7, 8], dtype=mx.int8)
        return [(x[0] + x[0]).item(), (x[1] * x[2]).item()]

    @check("complex")
    def numbers():
        product = mx.array(1 + 2j) * mx.array(3 - 1j)
        turned = mx.exp(mx.array(0.5j * np.pi))
        return [f(v).item() for v in (product, turned) for f in (mx.real, mx.imag)]


def _symbolic(check, library, T):
    def values(kind, numbers, graph):
        x = T.vector("x", dtype=kind)
        found = library.function([x], graph(x), mode="FAST_COMPILE")
        return found(np.array(numbers, kind))

    def sums(x):
        return [x[0] + x[1], x[1] / np.float16(3), x[2] + x[2]]

    @check("float64")
    def double():
        return values("float64", [1 + TINY], lambda x: (x - 1) / TINY)

    @check("float16")
    def half():
        with np.errstate(over="ignore"):
            return values("float16", [2048, 1, 60000], sums)

    @check("bfloat16", refused_by=(TypeError,))
    def brain():
        T.vector("x", dtype="bfloat16")

    @check("float8 (e4m3)", refused_by=(TypeError,))
    def quarter():
        T.vector("x", dtype="float8_e4m3fn")

    @check("int8")
    def whole():
        found = values("int8", [100, 7, 8], lambda x: [x[0] + x[0], x[1] * x[2]])
        return [int(v) for v in found]

    @check("complex")
    def numbers():
        product = values("complex64", [1 + 2j, 3 - 1j], lambda x: x[0] * x[1])
        turned = values("complex64", [0.5j * np.pi], lambda x: T.exp(x)[0])
        return [product.real, product.imag, turned.real, turned.imag]


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    _symbolic(check, pytensor, T)


def tensorflow1(check):
    import tensorflow as tf

    def run(values):
        with tf.Session() as session:
            return session.run(values)

    def floats(values):
        return run([tf.cast(v, tf.float32) for v in values])

    @check("float64")
    def double():
        return run((tf.constant([1 + TINY], tf.float64) - 1) / TINY)

    @check("float16")
    def half():
        x = tf.constant([2048, 1, 60000], tf.float16)
        return floats([x[0] + x[1], x[1] / 3, x[2] + x[2]])

    @check("bfloat16", refused_by=(tf.errors.InvalidArgumentError,))
    def brain():
        x = tf.cast(tf.constant([256.0, 1, 60000]), tf.bfloat16)
        return floats([x[0] + x[1], x[1] / tf.cast(3.0, tf.bfloat16), x[2] + x[2]])

    @check("float8 (e4m3)")
    def quarter():
        check.lacks("tensorflow.float8_e4m3fn", "TensorFlow 1 has none")

    @check("int8")
    def whole():
        x = tf.constant([100, 7, 8], tf.int8)
        return [int(v) for v in run([x[0] + x[0], x[1] * x[2]])]

    @check("complex")
    def numbers():
        product = tf.constant(1 + 2j, tf.complex64) * tf.constant(3 - 1j, tf.complex64)
        turned = tf.exp(tf.constant(0.5j * np.pi, tf.complex64))
        product, turned = run([product, turned])
        return [product.real, product.imag, turned.real, turned.imag]


def chainer(check):
    import chainer
    import chainer.functions as F
    from chainer.utils.type_check import InvalidType

    def variable(values, kind):
        return chainer.Variable(np.array(values, kind))

    @check("float64")
    def double():
        return ((variable([1 + TINY], "float64") - 1) / TINY).array

    @check("float16")
    def half():
        with np.errstate(over="ignore"):
            x = variable([2048, 1, 60000], "float16")
            return [v.array for v in (x[0] + x[1], x[1] / 3, x[2] + x[2])]

    @check("bfloat16")
    def brain():
        check.lacks("chainer.bfloat16", "Chainer has NumPy's formats")

    @check("float8 (e4m3)")
    def quarter():
        check.lacks("chainer.float8_e4m3fn", "Chainer has NumPy's formats")

    @check("int8", refused_by=(InvalidType,))
    def whole():
        x = variable([100, 7, 8], "int8")
        with np.errstate(over="ignore"):
            return [int(v.array) for v in (x[0] + x[0], x[1] * x[2])]

    @check("complex", refused_by=(InvalidType,))
    def numbers():
        product = variable(1 + 2j, "complex64") * variable(3 - 1j, "complex64")
        turned = F.exp(variable(0.5j * np.pi, "complex64"))
        product, turned = product.array, turned.array
        return [product.real, product.imag, turned.real, turned.imag]


def mxnet(check):
    from mxnet import base, nd

    def numbers_of(values):
        return [float(v.astype("float32").asscalar()) for v in values]

    @check("float64")
    def double():
        return ((nd.array([1 + TINY], dtype="float64") - 1) / TINY).asnumpy()

    @check("float16")
    def half():
        x = nd.array([2048, 1, 60000], dtype="float16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("bfloat16", refused_by=(TypeError, base.MXNetError))
    def brain():
        x = nd.array([256.0, 1, 60000]).astype("bfloat16")
        return numbers_of((x[0] + x[1], x[1] / 3, x[2] + x[2]))

    @check("float8 (e4m3)", refused_by=(TypeError,))
    def quarter():
        return nd.array([0.3, 17.0]).astype("float8_e4m3fn").asnumpy()

    @check("int8")
    def whole():
        x = nd.array([100, 7, 8], dtype="int8")
        return [int((x[0] + x[0]).asscalar()), int((x[1] * x[2]).asscalar())]

    @check("complex", refused_by=(KeyError, TypeError))
    def numbers():
        nd.array([1 + 2j], dtype="complex64")


def dynet(check):
    import dynet as dy

    @check("float64")
    def double():
        x = dy.inputTensor(np.array([1 + TINY]))
        return ((x - 1) / TINY).npvalue()

    def lacking(name):
        def one():
            check.lacks("dynet." + name, "DyNet computes in float32 alone")

        return one

    check("float16")(lacking("float16"))
    check("bfloat16")(lacking("bfloat16"))
    check("float8 (e4m3)")(lacking("float8"))
    check("int8")(lacking("int8"))
    check("complex")(lacking("complex64"))


def cntk(check):
    import cntk as C

    def constant(values, kind):
        return C.constant(np.array(values, kind))

    @check("float64")
    def double():
        return ((constant([1 + TINY], "float64") - 1) / TINY).eval()

    @check("float16")
    def half():
        sum_ = constant([2048, 60000], "float16") + constant([1, 60000], "float16")
        share = constant([1], "float16") / constant([3], "float16")
        return [sum_.eval()[0], share.eval()[0], sum_.eval()[1]]

    @check("bfloat16")
    def brain():
        check.lacks("cntk.cntk_py.DataType_BFloat16", "CNTK came before it")

    @check("float8 (e4m3)")
    def quarter():
        check.lacks("cntk.cntk_py.DataType_Float8", "CNTK came before it")

    # What goes in as int8 is made float32.
    @check("int8")
    def whole():
        x, y = constant([100, 7], "int8"), constant([100, 8], "int8")
        return [float((x + y).eval()[0]), float((x * y).eval()[1])]

    @check("complex", refused_by=(ValueError,))
    def numbers():
        return (
            constant([1 + 2j], "complex64") * constant([3 - 1j], "complex64")
        ).eval()


def caffe2(check):
    from caffe2.python import core, workspace

    def computed(kind, *arrays):
        names = ["a", "b"][: len(arrays)]
        for name, array in zip(names, arrays):
            workspace.FeedBlob(name, array)
        workspace.RunOperatorOnce(core.CreateOperator(kind, names, "y"))
        return workspace.FetchBlob("y")

    def pair(kind, operation, a, b):
        return computed(operation, np.array([a], kind), np.array([b], kind))[0]

    @check("float64")
    def double():
        return [pair("float64", "Add", 1 + TINY, -1.0) / TINY]

    refused = (RuntimeError,)

    @check("float16", refused_by=refused)
    def half():
        kind = "float16"
        return [
            pair(kind, "Add", 2048, 1),
            pair(kind, "Div", 1, 3),
            pair(kind, "Add", 60000, 60000),
        ]

    for name, lacking in (("bfloat16", "BFLOAT16"), ("float8 (e4m3)", "FLOAT8")):

        @check(name)
        def absent():
            check.lacks("caffe2.python.core.DataType." + lacking, "no such DataType")

    @check("int8", refused_by=refused)
    def whole():
        return [pair("int8", "Add", 100, 100), pair("int8", "Mul", 7, 8)]

    @check("complex", refused_by=refused)
    def numbers():
        return pair("complex64", "Mul", 1 + 2j, 3 - 1j)


def tinygrad(check):
    import subprocess

    from tinygrad import Tensor, dtypes

    @check("float64")
    def double():
        x = Tensor([1 + TINY], dtype=dtypes.float64)
        return ((x - 1) / TINY).numpy()

    def small(kind):
        x = (
            Tensor([2048.0, 1.0, 60000.0, 256.0], dtype=dtypes.float32)
            .cast(kind)
            .realize()
        )
        first = x[0] if kind == dtypes.float16 else x[3]
        found = [v.realize() for v in (first + x[1], x[1] / 3, x[2] + x[2])]
        return [v.cast(dtypes.float32).item() for v in found]

    check("float16")(lambda: small(dtypes.float16))

    @check("bfloat16")
    def brain():
        try:
            return small(dtypes.bfloat16)
        except subprocess.CalledProcessError:
            check.not_here("a clang that computes with __bf16")

    @check("float8 (e4m3)")
    def quarter():
        x = Tensor([0.3, 17.0]).cast(dtypes.fp8e4m3).realize()
        return x.cast(dtypes.float32).numpy()

    @check("int8")
    def whole():
        x = Tensor([100, 7, 8], dtype=dtypes.int8).realize()
        return [(x[0] + x[0]).item(), (x[1] * x[2]).item()]

    @check("complex")
    def numbers():
        check.lacks("tinygrad.dtypes.complex64", "it has no complex numbers")
