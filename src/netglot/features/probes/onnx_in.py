"""ONNX read.

A small file, relu(x W + b) written here byte by byte, is read and run.
"""

import numpy as np

W = np.array([[1, -2], [0.5, 3], [-1, 0.25]], "float32")
B = np.array([0.5, -1], "float32")
X = np.array([[1, 2, 3], [4, -1, 2]], "float32")

CHECKS = {"its values": np.maximum(X @ W + B, 0)}


def _field(number, content):
    """A field of a protocol buffer: bytes, or a number below 128."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    size = len(content)
    length = [size] if size < 128 else [size & 127 | 128, size >> 7]
    return bytes([number << 3 | 2] + length) + content


def _tensor(name, array):
    """TensorProto: dims, data_type (1: float), name, raw_data."""
    dims = b"".join(_field(1, size) for size in array.shape)
    return dims + _field(2, 1) + _field(8, name) + _field(9, array.tobytes())


def _value(name, shape):
    """ValueInfoProto: name, type: tensor_type: elem_type, shape: dim: dim_value."""
    dims = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _node(kind, inputs, output):
    """NodeProto: input, output, op_type."""
    named = b"".join(_field(1, name) for name in inputs)
    return named + _field(2, output) + _field(4, kind)


def write(path):
    """ModelProto: ir_version, graph, opset_import: version."""
    graph = (
        _field(1, _node(b"MatMul", [b"x", b"w"], b"product"))
        + _field(1, _node(b"Add", [b"product", b"b"], b"sum"))
        + _field(1, _node(b"Relu", [b"sum"], b"y"))
        + _field(2, b"network")
        + _field(5, _tensor(b"w", W))
        + _field(5, _tensor(b"b", B))
        + _field(11, _value(b"x", X.shape))
        + _field(12, _value(b"y", (2, 2)))
    )
    with open(path, "wb") as file:
        file.write(
            _field(1, 4) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 9))
        )


def numpy(check):
    check.nothing("autograd reads no graphs", "autograd.onnx")


def pytorch(check):
    check.nothing(
        "torch.onnx only writes; onnx2torch and others are apart", "torch.onnx.load"
    )


def jax(check):
    check.nothing("jaxonnxruntime and others are apart", "jax.onnx")


def tensorflow(check):
    check.nothing("onnx-tf is apart, and of before", "tensorflow.onnx")


def keras(check):
    check.nothing("Keras only writes it", "keras.models.load_onnx")


def tinygrad(check):
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    @check("its values")
    def values():
        with check.folder() as folder:
            write(folder + "/model.onnx")
            return OnnxRunner(folder + "/model.onnx")({"x": Tensor(X)})["y"].numpy()


def paddle(check):
    check.nothing("paddle.onnx only writes", "paddle.onnx.load")


def mxnet(check):
    import mxnet as mx

    @check("its values")
    def values():
        with check.folder() as folder:
            write(folder + "/model.onnx")
            try:
                network = mx.contrib.onnx.onnx2mx.import_to_gluon.import_to_gluon(
                    folder + "/model.onnx", mx.cpu()
                )
            except ImportError as error:
                check.not_here("the package onnx: %s" % error)
            return network(mx.nd.array(X)).asnumpy()


def mlx(check):
    check.nothing("MLX reads its own format", "mlx.onnx")


def chainer(check):
    check.nothing("Chainer reads caffemodels only", "chainer.links.onnx")


def cntk(check):
    import cntk as C

    @check("its values")
    def values():
        with check.folder() as folder:
            write(folder + "/model.onnx")
            network = C.Function.load(folder + "/model.onnx", format=C.ModelFormat.ONNX)
            return network.eval({network.arguments[0]: X})


def caffe2(check):
    @check("its values")
    def values():
        try:
            from caffe2.python.onnx import backend
        except ImportError as error:
            if error.name != "onnx":
                raise
            check.not_here("the package onnx")
        check.no("%s is there: the probe is out of date" % backend)
