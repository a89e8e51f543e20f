"""Devices found.

Does the framework list the devices of this machine, and may an array be placed on one
and be asked where it is?
"""


def has_a_processor(names):
    """Names of devices, a CPU among them"""
    return any("cpu" in str(name).lower() for name in names)


def is_a_processor(name):
    """The name of a device that is a CPU"""
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
        check.note("accelerators: %d; no list holds the CPU" % found)
        return ["cpu"] + [
            "%s:%d" % (torch.accelerator.current_accelerator(), i) for i in range(found)
        ]

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

    @check("lists devices")
    def devices():
        return keras.distribution.list_devices()

    # The array is one of the engine's, and so is the name of its device.
    @check("an array says where it is")
    def place():
        with keras.device("cpu:0"):
            return keras.ops.ones(3).device
