"""Arrays exchanged without copying (DLPack).

An array is given to NumPy and one of NumPy's is taken; the memory must be the same at
both ends, and the numbers too.
"""

import numpy as np

X = np.arange(12, dtype="float32").reshape(3, 4) - 5

CHECKS = {
    "given: the numbers": X,
    "given: the same memory": True,
    "taken: the numbers": X,
    "taken: the same memory": True,
}


def _aligned():
    """A copy of X that starts at a multiple of 64 bytes, as XLA wants it."""
    memory = np.empty(X.nbytes + 64, "uint8")
    start = -memory.ctypes.data % 64
    array = memory[start : start + X.nbytes].view("float32").reshape(X.shape)
    array[...] = X
    return array


def _address(array):
    return array.__array_interface__["data"][0]


def _exchanged(check, make, take, address, numbers, refused_by=()):
    """``make`` an array of X; ``take`` one of NumPy's; where it is; its numbers."""
    own = make(X)

    @check("given: the numbers", refused_by)
    def given():
        return np.from_dlpack(own)

    @check("given: the same memory", refused_by)
    def given_memory():
        return _address(np.from_dlpack(own)) == address(own)

    @check("taken: the numbers", refused_by)
    def taken():
        return numbers(take(_aligned()))

    @check("taken: the same memory", refused_by)
    def taken_memory():
        source = _aligned()
        return address(take(source)) == _address(source)


def numpy(check):
    _exchanged(check, np.copy, np.from_dlpack, _address, np.asarray)


def pytorch(check):
    import torch

    _exchanged(
        check,
        torch.tensor,
        torch.from_dlpack,
        lambda x: x.data_ptr(),
        lambda x: x.numpy(),
    )


def jax(check):
    import jax.numpy as jnp

    _exchanged(
        check,
        jnp.array,
        jnp.from_dlpack,
        lambda x: x.unsafe_buffer_pointer(),
        np.asarray,
    )


def tensorflow(check):
    import tensorflow as tf

    # Its functions hand over the capsule itself, which older consumers take; NumPy
    # wants an object with __dlpack__.
    _exchanged(
        check,
        tf.constant,
        lambda x: tf.experimental.dlpack.from_dlpack(x.__dlpack__()),
        lambda x: _address(_seen(x)),
        lambda x: x.numpy(),
        (AttributeError, TypeError, BufferError, RuntimeError),
    )


def _seen(tensor):
    """A tensor of TensorFlow as NumPy sees it through the buffer protocol."""
    return np.asarray(memoryview(tensor))


# The arrays are the engine's, and so is what takes them.
def keras_tensorflow(check):
    tensorflow(check)


def keras_jax(check):
    jax(check)


def keras_torch(check):
    pytorch(check)


def paddle(check):
    import paddle

    _exchanged(
        check,
        paddle.to_tensor,
        paddle.from_dlpack,
        lambda x: x.data_ptr(),
        lambda x: x.numpy(),
    )


def mxnet(check):
    import ctypes

    import mxnet as mx

    # It hands over the capsule itself, which NumPy does not take.
    @check("given: the numbers", refused_by=(AttributeError, TypeError))
    def given():
        return np.from_dlpack(mx.nd.array(X))

    @check("given: the same memory", refused_by=(AttributeError, TypeError))
    def given_memory():
        return np.from_dlpack(mx.nd.array(X)).ctypes.data > 0

    def address(array):
        where = ctypes.c_void_p()
        mx.base.check_call(
            mx.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(where))
        )
        return where.value

    @check("taken: the numbers")
    def taken():
        return mx.nd.from_numpy(_aligned(), zero_copy=True).asnumpy()

    @check("taken: the same memory")
    def taken_memory():
        source = _aligned()
        check.note("by nd.from_numpy, which is built upon DLPack")
        return address(mx.nd.from_numpy(source, zero_copy=True)) == _address(source)


def mlx(check):
    import mlx.core as mx

    def address(array):
        return _address(np.asarray(memoryview(array)))

    _exchanged(check, mx.array, mx.array, address, np.array, (TypeError, BufferError))


def cntk(check):
    check.nothing("CNTK came before it", "cntk.NDArrayView.__dlpack__")


def caffe2(check):
    check.nothing(
        "its tensors are NumPy's when they are fetched",
        "caffe2.python.workspace.ToDLPack",
    )
