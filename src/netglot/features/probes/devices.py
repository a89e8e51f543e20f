"""Devices found.

Does the framework list the devices of this machine, and may an array be placed on one
and be asked where it is?
"""


def has_a_processor(names):
    """names of devices, a CPU among them"""
    return any("cpu" in str(name).lower() for name in names)


def is_a_processor(name):
    """the name of a device that is a CPU"""
    return "cpu" in str(name).lower()


CHECKS = {
    "lists devices": has_a_processor,
    "an array says where it is": is_a_processor,
}


def numpy(check):
    import numpy as np

    @check("lists devices")
    def devices():
        return np.__array_namespace_info__().devices()

    @check("an array says where it is")
    def place():
        return np.ones(3, device="cpu").device


def pytorch(check):
    import torch

    @check("lists devices")
    def devices():
        found = torch.accelerator.device_count()
        check.note("counts, by kind of device: %d accelerators" % found)
        kind = torch.accelerator.current_accelerator()
        processors = ["cpu:%d" % i for i in range(torch.cpu.device_count())]
        return processors + ["%s:%d" % (kind, i) for i in range(found)]

    @check("an array says where it is")
    def place():
        return torch.ones(3, device="cpu").device


def jax(check):
    import jax

    @check("lists devices")
    def devices():
        return jax.devices()

    @check("an array says where it is")
    def place():
        return jax.device_put(jax.numpy.ones(3), jax.devices()[-1]).device


def tensorflow(check):
    import tensorflow as tf

    @check("lists devices")
    def devices():
        return [device.name for device in tf.config.list_physical_devices()]

    @check("an array says where it is")
    def place():
        with tf.device("CPU:0"):
            return tf.ones(3).device


def keras(check):
    import keras

    # Its distribution API has nothing for the engine PyTorch.
    @check("lists devices", refused_by=(AttributeError,))
    def devices():
        return keras.distribution.list_devices()

    # The array is one of the engine's, and so is the name of its device.
    @check("an array says where it is")
    def place():
        with keras.device("cpu:0"):
            return keras.ops.ones(3).device


def paddle(check):
    import paddle

    @check("lists devices")
    def devices():
        check.note(
            "devices beside processors: %s" % paddle.device.get_available_device()
        )
        return paddle.device.get_all_device_type()

    @check("an array says where it is")
    def place():
        return paddle.ones([3], device="cpu").place


def mxnet(check):
    import mxnet as mx

    @check("lists devices")
    def devices():
        check.note("counts GPUs: %d; nothing lists the CPU" % mx.context.num_gpus())
        return [mx.gpu(i) for i in range(mx.context.num_gpus())]

    @check("an array says where it is")
    def place():
        return mx.nd.ones(3, ctx=mx.cpu()).context


def mlx(check):
    import mlx.core as mx

    @check("lists devices")
    def devices():
        kinds = [mx.Device(kind, 0) for kind in (mx.cpu, mx.gpu)]
        return [device for device in kinds if mx.is_available(device)]

    @check("an array says where it is")
    def place():
        check.lacks(
            "mlx.core.array.device",
            "memory is shared: operations have a device, arrays none",
        )


def chainer(check):
    import chainer
    import numpy

    @check("lists devices")
    def devices():
        check.lacks("chainer.backend.get_devices", "a device is named, not looked for")

    @check("an array says where it is")
    def place():
        name = chainer.backend.get_device_from_array(numpy.ones(3)).name
        check.note("its name of the processor, through NumPy: %s" % name)
        return name.replace("@numpy", "cpu (@numpy)")


def tinygrad(check):
    from tinygrad import Device, Tensor

    @check("lists devices")
    def devices():
        return list(Device.get_available_devices())

    @check("an array says where it is")
    def place():
        return Tensor.ones(3, device="CPU").device


def cntk(check):
    import cntk as C
    import numpy as np

    @check("lists devices")
    def devices():
        return C.device.all_devices()

    @check("an array says where it is")
    def place():
        return C.NDArrayView.from_dense(np.ones(3, "float32")).device


def caffe2(check):
    from caffe2.python import workspace

    @check("lists devices")
    def devices():
        check.note("counts GPUs; nothing lists the CPU")
        return ["cuda:%d" % i for i in range(workspace.NumCudaDevices())]

    # A blob that is fetched is NumPy's; where it was, its operator says.
    @check("an array says where it is")
    def place():
        check.lacks("caffe2.python.workspace.GetBlobDevice", "an operator has a device")


def tensorflow1(check):
    import tensorflow as tf
    from tensorflow.python.client import device_lib

    @check("lists devices")
    def devices():
        return [device.name for device in device_lib.list_local_devices()]

    # Of a tensor it says where it was asked to be, which is nowhere unless one asks.
    @check("an array says where it is")
    def place():
        with tf.device("/cpu:0"):
            return tf.ones(3).device
