"""int8 quantization.

A product of int8 matrices summed in int32, which must be exact; and a trained layer
turned to int8: its outputs stay within two hundredths of the largest, its weights take
about a quarter of the bytes.
"""

import numpy as np

_random = np.random.RandomState(9)
A = _random.randint(-128, 128, (4, 64)).astype("int8")
B = _random.randint(-128, 128, (64, 3)).astype("int8")
X = _random.randn(8, 256).astype("float32")
W = _random.randn(256, 128).astype("float32")
RIGHT = X @ W


def near(found):
    """not the outputs themselves, but within 0.02 of the largest of them"""
    found = np.asarray(found)
    worst = np.abs(found - RIGHT).max() if found.shape == RIGHT.shape else np.inf
    return 1e-4 < worst < 0.02 * np.abs(RIGHT).max()


def a_quarter(share):
    """between a fifth and a third of what float32 takes"""
    return 0.2 < share < 0.34


CHECKS = {
    "a product of int8 in int32": A.astype("int64") @ B.astype("int64"),
    "a layer in int8": near,
    "bytes of its weights": a_quarter,
}


def numpy(check):
    @check("a product of int8 in int32")
    def product():
        return np.matmul(A, B, dtype="int32")

    for name in ("a layer in int8", "bytes of its weights"):

        @check(name)
        def layer():
            check.lacks("autograd.quantization", "autograd has no layers")


def pytorch(check):
    import warnings

    import torch

    # An operation without a name for users; the public way is torchao, a package apart.
    @check("a product of int8 in int32")
    def product():
        check.fallback("torch._int_mm is private, and torch.matmul overflows in int8")
        return torch._int_mm(torch.from_numpy(A), torch.from_numpy(B)).numpy()

    def quantized():
        model = torch.nn.Sequential(torch.nn.Linear(256, 128, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.from_numpy(W.T))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})

    refused = (RuntimeError, NotImplementedError)

    @check("a layer in int8", refused)
    def layer():
        check.note("torch.ao.quantization is deprecated in favour of torchao")
        return quantized()(torch.from_numpy(X)).numpy()

    @check("bytes of its weights", refused)
    def weights():
        weight = quantized()[0].weight()
        return weight.int_repr().nbytes / W.nbytes


def jax(check):
    import jax.numpy as jnp

    @check("a product of int8 in int32")
    def product():
        return jnp.matmul(A, B, preferred_element_type="int32")

    for name in ("a layer in int8", "bytes of its weights"):

        @check(name)
        def layer():
            check.lacks("jax.quantization", "AQT and Qwix are apart")


def tensorflow(check):
    import tensorflow as tf

    @check("a product of int8 in int32")
    def product():
        return tf.matmul(A, B, output_type="int32").numpy()

    _with_keras(check, tf.keras)


def keras(check):
    import keras

    # Integers are multiplied in int32 in any case.
    @check("a product of int8 in int32")
    def product():
        found = keras.ops.matmul(keras.ops.array(A), keras.ops.array(B))
        return keras.ops.convert_to_numpy(found)

    _with_keras(check, keras)


def _with_keras(check, keras):
    model = keras.Sequential(
        [keras.Input((256,)), keras.layers.Dense(128, use_bias=False)]
    )
    model.set_weights([W])
    model.quantize("int8")

    @check("a layer in int8")
    def layer():
        return model.predict(X, verbose=0)

    @check("bytes of its weights")
    def weights():
        return (
            sum(
                w.numpy().nbytes if hasattr(w, "numpy") else np.asarray(w).nbytes
                for w in model.weights
            )
            / W.nbytes
        )


def paddle(check):
    import paddle

    refused = (RuntimeError, ValueError, OSError, TypeError, NotImplementedError)

    @check("a product of int8 in int32", refused)
    def product():
        return paddle.matmul(paddle.to_tensor(A), paddle.to_tensor(B)).numpy()

    # Made for GPUs: weights in int8 beside activations in half precision.
    def quantized():
        return paddle.nn.quant.weight_quantize(
            paddle.to_tensor(W), algo="weight_only_int8"
        )

    @check("a layer in int8", refused)
    def layer():
        weight, scale = quantized()
        return paddle.nn.quant.weight_only_linear(
            paddle.to_tensor(X), weight, weight_scale=scale, weight_dtype="int8"
        ).numpy()

    @check("bytes of its weights", refused)
    def weights():
        weight, scale = quantized()
        return (weight.numpy().nbytes + scale.numpy().nbytes) / W.nbytes


def mlx(check):
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    @check("a product of int8 in int32", refused_by=(ValueError, RuntimeError))
    def product():
        return np.array(mx.matmul(mx.array(A), mx.array(B)))

    model = nn.Sequential(nn.Linear(256, 128, bias=False))
    model.layers[0].weight = mx.array(W.T)
    nn.quantize(model, group_size=64, bits=8)

    @check("a layer in int8")
    def layer():
        return np.array(model(mx.array(X)))

    @check("bytes of its weights")
    def weights():
        return sum(a.nbytes for _, a in tree_flatten(model.parameters())) / W.nbytes


def chainer(check):
    check.nothing("Chainer has no layers of integers", "chainer.links.QuantizedLinear")


def cntk(check):
    import cntk as C

    # What is given as int8 is made float32, which is exact up to 2^24.
    @check("a product of int8 in int32")
    def product():
        found = C.times(C.constant(A), C.constant(B)).eval()
        check.note("of kind %s" % found.dtype)
        check.fallback("computed in float32")
        return found

    for name in ("a layer in int8", "bytes of its weights"):

        @check(name)
        def layer():
            check.lacks(
                "cntk.contrib.quantization", "its own is of one bit, for convolutions"
            )


def caffe2(check):
    from caffe2.python import core, workspace

    def run(kind, inputs, outputs, **options):
        workspace.RunOperatorOnce(core.CreateOperator(kind, inputs, outputs, **options))

    @check("a product of int8 in int32", refused_by=(RuntimeError,))
    def product():
        workspace.FeedBlob("a", A)
        workspace.FeedBlob("b", B)
        run("MatMul", ["a", "b"], ["y"])
        return workspace.FetchBlob("y")

    # Rows of the weights in eight bits, each with a scale of its own.
    workspace.FeedBlob("w", W.T.copy())
    workspace.FeedBlob("x", X)
    run("FloatToFused8BitRowwiseQuantized", ["w"], ["small"])

    @check("a layer in int8")
    def layer():
        check.note("of 8 bits are the weights; the product is one of float32")
        run("Fused8BitRowwiseQuantizedToFloat", ["small"], ["again"])
        run("MatMul", ["x", "again"], ["y"], trans_b=1)
        return workspace.FetchBlob("y")

    @check("bytes of its weights")
    def size():
        return workspace.FetchBlob("small").nbytes / W.nbytes
