"""ONNX written.

A layer with relu is written as ONNX. The file must hold a product of matrices, a relu
and the weights; it is read as what it is, a protocol buffer.
"""

import numpy as np

W = np.array([[1, -2], [0.5, 3], [-1, 0.25]], "float32")
X = np.array([[1, 2, 3]], "float32")


def _fields(data):
    """The fields of a protocol buffer: number -> what stands there."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            yield key >> 3, data[at : at + size]
            at += size
        elif key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = 4 if key & 7 == 5 else 8
            yield key >> 3, data[at : at + size]
            at += size


def _graph(path):
    """ModelProto.graph (7)."""
    with open(path, "rb") as file:
        return next(part for number, part in _fields(file.read()) if number == 7)


def operations(path):
    """The types (4) of the nodes (1) of a file."""
    nodes = [part for number, part in _fields(_graph(path)) if number == 1]
    return [
        part.decode() for node in nodes for number, part in _fields(node) if number == 4
    ]


def _weights(path):
    """All numbers of the initializers (5) that are as many as the weights."""
    found = []
    for number, part in _fields(_graph(path)):
        if number == 5:
            tensor = dict(_fields(part))
            raw = tensor.get(9) or tensor.get(4) or b""
            if isinstance(raw, bytes) and len(raw) == W.nbytes:
                found.append(np.sort(np.frombuffer(raw, "float32")))
    return found[0] if found else []


def a_product_and_relu(found):
    """operations of ONNX: MatMul or Gemm, then Relu"""
    return "Relu" in found and ("MatMul" in found or "Gemm" in found)


CHECKS = {
    "operations": a_product_and_relu,
    # In their order of size: a file may hold them transposed.
    "weights": np.sort(W.reshape(-1)),
}


def _written(check, write, packages):
    """Writes a file; ``packages`` are those that the framework wants beside itself."""
    with check.folder() as folder:
        path, lacking = folder + "/model.onnx", []
        try:
            write(path)
        except (ImportError, RuntimeError) as error:
            # Some say it by an exception of their own.
            lacks = isinstance(error, ImportError) or "not installed" in str(error)
            if not lacks or not any(package in str(error) for package in packages):
                raise
            lacking.append(str(error))

        @check("operations")
        def kinds():
            if lacking:
                check.not_here("a package that it writes with: %s" % lacking[0])
            return operations(path)

        @check("weights")
        def weights():
            if lacking:
                check.not_here("a package that it writes with: %s" % lacking[0])
            return _weights(path)


def numpy(check):
    check.nothing("autograd has no graph to write", "autograd.onnx")


def pytorch(check):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(W.T))
    _written(
        check,
        lambda path: torch.onnx.export(
            model, (torch.from_numpy(X),), path, external_data=False
        ),
        ["onnxscript", "onnx"],
    )


def jax(check):
    check.nothing("JAX writes StableHLO; jax2onnx and others are apart", "jax.onnx")


def tensorflow(check):
    def write(path):
        import tensorflow as tf
        import tf2onnx

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def model(x):
            return tf.nn.relu(x @ W)

        tf2onnx.convert.from_function(
            model, input_signature=model.input_signature, output_path=path
        )

    _written(check, write, ["tf2onnx"])


def keras(check):
    import keras

    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, "relu", use_bias=False)]
    )
    model.set_weights([W])
    model(X)
    _written(
        check,
        lambda path: model.export(path, format="onnx", verbose=False),
        ["tf2onnx", "jax2onnx", "onnxscript", "onnx"],
    )


def paddle(check):
    import paddle

    model = paddle.nn.Sequential(
        paddle.nn.Linear(3, 2, bias_attr=False), paddle.nn.ReLU()
    )
    model[0].weight.set_value(W)
    spec = paddle.static.InputSpec([None, 3])
    _written(
        check,
        lambda path: paddle.onnx.export(model, path[:-5], input_spec=[spec]),
        ["paddle2onnx"],
    )


def mxnet(check):
    import mxnet as mx

    network = mx.gluon.nn.HybridSequential()
    network.add(mx.gluon.nn.Dense(2, "relu", use_bias=False, in_units=3))
    network.initialize()
    network[0].weight.set_data(mx.nd.array(W.T))
    network.hybridize()
    network(mx.nd.array(X))

    def write(path):
        network.export(path[:-5])
        files = path[:-5] + "-symbol.json", path[:-5] + "-0000.params"
        mx.onnx.export_model(*files, [(1, 3)], np.float32, path)

    _written(check, write, ["onnx"])


def mlx(check):
    check.nothing("MLX writes its own format", "mlx.onnx")


def chainer(check):
    import chainer
    from chainer import functions, links

    # It came with Chainer, and wants the package onnx.
    def write(path):
        import onnx_chainer

        model = chainer.Sequential(links.Linear(3, 2, nobias=True), functions.relu)
        model[0].W.array[...] = W.T
        with chainer.using_config("train", False):
            onnx_chainer.export(model, X, filename=path)

    _written(check, write, ["onnx"])


def tinygrad(check):
    check.nothing(
        "tinygrad reads ONNX and does not write it", "tinygrad.nn.onnx.export"
    )


def cntk(check):
    import cntk as C

    x = C.input_variable(3)
    network = C.relu(C.times(x, C.parameter(init=W)))
    _written(check, lambda path: network.save(path, C.ModelFormat.ONNX), [])


def caffe2(check):
    for name in CHECKS:

        @check(name)
        def written():
            try:
                from caffe2.python.onnx import frontend
            except ImportError as error:
                if error.name != "onnx":
                    raise
                check.not_here("the package onnx")
            check.no("%s is there: the probe is out of date" % frontend)


def tensorflow1(check):
    check.nothing("TensorFlow 1 writes its own formats", "tensorflow.onnx")


def theano(check):
    check.nothing("Theano pickles its functions", "theano.onnx")


def pytensor(check):
    check.nothing("PyTensor pickles its functions", "pytensor.onnx")


def dynet(check):
    check.nothing("DyNet saves parameters only", "dynet.onnx")
