"""Computes on a GPU (CUDA).

A matrix times a vector on the first GPU. Without one the cell says what the build
would do: whether it was built with CUDA.
"""

import numpy as np

A = np.array([[1, 2, 3], [4, 5, 6]], "float32")
V = np.array([1, 2, 3], "float32")

CHECKS = {"a product on a GPU": [14.0, 32.0]}


def numpy(check):
    @check("a product on a GPU")
    def product():
        devices = np.__array_namespace_info__().devices()
        if devices == ["cpu"]:
            check.no("NumPy computes on %s only" % devices)
        raise AssertionError("NumPy has other devices: %s" % devices)


def pytorch(check):
    import torch

    @check("a product on a GPU")
    def product():
        if not torch.cuda.is_available():
            check.not_here("a GPU; this build is for CUDA %s" % torch.version.cuda)
        found = torch.from_numpy(A).cuda() @ torch.from_numpy(V).cuda()
        assert found.is_cuda
        return found.tolist()


def jax(check):
    import jax

    @check("a product on a GPU")
    def product():
        try:
            gpu = jax.devices("gpu")[0]
        except RuntimeError as error:
            check.not_here("a GPU, or JAX's plugin for CUDA: %s" % error)
        found = jax.device_put(A, gpu) @ jax.device_put(V, gpu)
        assert found.device == gpu
        return found.tolist()


def tensorflow(check):
    import tensorflow as tf

    @check("a product on a GPU")
    def product():
        if not tf.config.list_physical_devices("GPU"):
            built = "with" if tf.test.is_built_with_cuda() else "without"
            check.not_here("a GPU; this build is %s CUDA" % built)
        with tf.device("GPU:0"):
            found = tf.linalg.matvec(A, V)
        assert "GPU" in found.device
        return found.numpy()


def keras(check):
    import keras

    @check("a product on a GPU")
    def product():
        engine = keras.backend.backend()
        try:
            found = keras.distribution.list_devices("gpu")
        except (AttributeError, RuntimeError) as error:
            # So say JAX where there is none, and the engine PyTorch in any case.
            check.not_here("a GPU, or a build of %s for it: %s" % (engine, error))
        if not found:
            check.not_here("a GPU, or a build of %s for it" % engine)
        with keras.device("gpu:0"):
            found = keras.ops.matmul(keras.ops.array(A), keras.ops.array(V))
        assert "cpu" not in str(found.device).lower()
        return keras.ops.convert_to_numpy(found)


def paddle(check):
    import paddle

    @check("a product on a GPU")
    def product():
        if not paddle.is_compiled_with_cuda():
            check.not_here("a build with CUDA; this one is without")
        if not paddle.device.cuda.device_count():
            check.not_here("a GPU; this build is with CUDA")
        found = paddle.mv(paddle.to_tensor(A).cuda(), paddle.to_tensor(V).cuda())
        assert found.place.is_gpu_place()
        return found.tolist()


def mxnet(check):
    import mxnet as mx

    @check("a product on a GPU")
    def product():
        if not mx.context.num_gpus():
            built = mx.runtime.Features().is_enabled("CUDA")
            check.not_here(
                "a GPU; this build is %s CUDA" % ("with" if built else "without")
            )
        gpu = mx.gpu()
        found = mx.nd.dot(mx.nd.array(A, ctx=gpu), mx.nd.array(V, ctx=gpu))
        assert found.context == gpu
        return found.asnumpy()


def mlx(check):
    import mlx.core as mx

    @check("a product on a GPU")
    def product():
        if not mx.is_available(mx.gpu):
            check.not_here("a GPU, or a build for it: mlx[cuda], or Metal")
        return mx.matmul(mx.array(A), mx.array(V), stream=mx.gpu).tolist()


def chainer(check):
    import chainer

    @check("a product on a GPU")
    def product():
        if not chainer.backends.cuda.available:
            check.not_here("a GPU, and the package cupy")
        xp = chainer.backends.cuda.cupy
        return xp.asnumpy(xp.asarray(A).dot(xp.asarray(V)))


def tinygrad(check):
    from tinygrad import Device, Tensor

    @check("a product on a GPU")
    def product():
        if "CUDA" not in Device.get_available_devices():
            check.not_here("a GPU, or CUDA: it is used without being built in")
        return (Tensor(A, device="CUDA") @ Tensor(V, device="CUDA")).numpy()


def cntk(check):
    import cntk as C

    @check("a product on a GPU")
    def product():
        gpus = [d for d in C.device.all_devices() if d.type() == C.DeviceKind.GPU]
        if not gpus:
            check.not_here("a GPU; cntk is the build without CUDA, cntk-gpu the other")
        v = C.input_variable(3)
        return C.times(C.constant(A), v).eval({v: V[None]}, device=gpus[0])[0]


def caffe2(check):
    from caffe2.proto import caffe2_pb2
    from caffe2.python import core, workspace

    @check("a product on a GPU")
    def product():
        if not workspace.NumCudaDevices():
            built = "with" if workspace.has_cuda_support else "without"
            check.not_here("a GPU; this build is %s CUDA" % built)
        with core.DeviceScope(core.DeviceOption(caffe2_pb2.CUDA, 0)):
            workspace.FeedBlob("a", A)
            workspace.FeedBlob("v", V[:, None])
            workspace.RunOperatorOnce(core.CreateOperator("MatMul", ["a", "v"], "y"))
        return workspace.FetchBlob("y")[:, 0]


def caffe(check):
    import caffe

    @check("a product on a GPU")
    def product():
        if not hasattr(caffe, "set_mode_gpu"):
            check.not_here(
                "Caffe itself: OpenCV runs its networks here, on the processor"
            )
        check.no("caffe.set_mode_gpu is there: the probe is out of date")


def tensorflow1(check):
    import tensorflow as tf

    @check("a product on a GPU")
    def product():
        if not tf.test.is_gpu_available():
            built = "with" if tf.test.is_built_with_cuda() else "without"
            check.not_here("a GPU; this build is %s CUDA" % built)
        with tf.Graph().as_default(), tf.device("/gpu:0"):
            found = tf.linalg.matvec(tf.constant(A), tf.constant(V))
            with tf.Session() as session:
                return session.run(found)


def keras2_tensorflow(check):
    import tensorflow as tf
    from keras import backend as K

    @check("a product on a GPU")
    def product():
        if not tf.test.is_gpu_available():
            built = "with" if tf.test.is_built_with_cuda() else "without"
            check.not_here("a GPU; TensorFlow's build is %s CUDA" % built)
        with tf.device("/gpu:0"):
            return K.eval(K.dot(K.constant(A), K.constant(V[:, None])))[:, 0]


def theano(check):
    @check("a product on a GPU")
    def product():
        # Since version 0.10 its arrays of GPUs are those of a library of its own.
        try:
            import pygpu
        except ImportError:
            check.not_here("the package pygpu, and a GPU for it")
        check.no("%s is there: the probe is out of date" % pygpu)


def dynet(check):
    import _dynet

    @check("a product on a GPU")
    def product():
        if "gpu" not in _dynet.__name__:
            check.not_here("a GPU and _gdynet, the module of builds with CUDA")
        check.no("the probe is out of date")


def keras2_theano(check):
    @check("a product on a GPU")
    def product():
        try:
            import pygpu
        except ImportError:
            check.not_here("the package pygpu, with which Theano uses a GPU")
        check.no("%s is there: the probe is out of date" % pygpu)


def keras2_cntk(check):
    import cntk as C
    from keras import backend as K

    @check("a product on a GPU")
    def product():
        gpus = [d for d in C.device.all_devices() if d.type() == C.DeviceKind.GPU]
        if not gpus:
            check.not_here("a GPU; cntk is the build without CUDA, cntk-gpu the other")
        C.device.try_set_default_device(gpus[0])
        return K.eval(K.dot(K.constant(A), K.constant(V[:, None])))[:, 0]
