"""safetensors.

Two arrays are written to a file of this format and one is read from it: by the
framework itself or by the package safetensors, which has a module for it.
"""

import json
import struct

import numpy as np

W = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]], "float32")
B = np.array([1, 2, 3], "int64")


def _write(path):
    """The format: the length of a header in JSON, the header, the numbers."""
    parts, start = {}, 0
    for name, kind, array in (("b", "I64", B), ("w", "F32", W)):
        where = [start, start + array.nbytes]
        parts[name] = {"dtype": kind, "shape": array.shape, "data_offsets": where}
        start += array.nbytes
    header = json.dumps(parts).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + B.tobytes() + W.tobytes())


def _read(path, name):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        where = json.loads(file.read(size).decode())[name]
        start, end = where["data_offsets"]
        file.seek(8 + size + start)
        kind = {"F32": "float32", "I64": "int64"}[where["dtype"]]
        return np.frombuffer(file.read(end - start), kind).reshape(where["shape"])


CHECKS = {"written": W, "read": W, "integers": B}


def _by_the_package(check, module, array, numbers):
    """With a module of the package safetensors."""
    import importlib

    def package():
        try:
            return importlib.import_module("safetensors." + module)
        except ImportError as error:
            if error.name != "safetensors":
                raise
            check.not_here("the package safetensors")

    with check.folder() as folder:

        @check("written")
        def written():
            package().save_file({"w": array(W), "b": array(B)}, folder + "/own")
            return _read(folder + "/own", "w")

        _write(folder + "/given")

        @check("read")
        def read():
            return numbers(package().load_file(folder + "/given")["w"])

        @check("integers")
        def integers():
            return numbers(package().load_file(folder + "/given")["b"])


def numpy(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def pytorch(check):
    import torch

    _by_the_package(check, "torch", torch.from_numpy, lambda x: x.numpy())


def jax(check):
    import jax.numpy as jnp

    _by_the_package(check, "flax", jnp.asarray, np.asarray)


def tensorflow(check):
    import tensorflow as tf

    _by_the_package(check, "tensorflow", tf.constant, np.asarray)


# Keras has no module of its own there: NumPy's, and set_weights.
def keras(check):
    import keras

    _by_the_package(check, "numpy", np.asarray, keras.ops.convert_to_numpy)


def paddle(check):
    import paddle

    _by_the_package(check, "paddle", paddle.to_tensor, lambda x: x.numpy())


def mlx(check):
    import mlx.core as mx

    with check.folder() as folder:

        @check("written")
        def written():
            mx.save_safetensors(folder + "/own.safetensors", {"w": mx.array(W)})
            return _read(folder + "/own.safetensors", "w")

        _write(folder + "/given.safetensors")

        @check("read")
        def read():
            return np.array(mx.load(folder + "/given.safetensors")["w"])

        @check("integers")
        def integers():
            return np.array(mx.load(folder + "/given.safetensors")["b"])


def tinygrad(check):
    from tinygrad import Tensor
    from tinygrad.nn.state import safe_load, safe_save

    with check.folder() as folder:

        @check("written")
        def written():
            safe_save({"w": Tensor(W)}, folder + "/own.safetensors")
            return _read(folder + "/own.safetensors", "w")

        _write(folder + "/given.safetensors")

        @check("read")
        def read():
            return safe_load(folder + "/given.safetensors")["w"].numpy()

        @check("integers")
        def integers():
            return safe_load(folder + "/given.safetensors")["b"].numpy()


def mxnet(check):
    import mxnet as mx

    _by_the_package(
        check, "numpy", np.asarray, lambda x: mx.nd.array(x, dtype=x.dtype).asnumpy()
    )


def chainer(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def keras2(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def cntk(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def caffe2(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def tensorflow1(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def theano(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def pytensor(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)


def dynet(check):
    _by_the_package(check, "numpy", np.asarray, np.asarray)
