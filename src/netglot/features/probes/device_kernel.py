"""A kernel of one's own for the device.

A kernel that adds a multiple of one vector to another (saxpy), written in the language
for kernels that comes with the framework: does it run on this machine's device?
"""

import numpy as np

X = np.arange(8, dtype="float32")
Y = np.ones(8, "float32")

CHECKS = {"a x + y": 2.5 * X + Y}


def numpy(check):
    check.nothing("NumPy's kernels are C extensions, built apart", "numpy.kernel")


def pytorch(check):
    import torch

    @check("a x + y")
    def saxpy():
        try:
            import triton
            from triton import language as tl
        except ImportError:
            check.not_here("the package triton, which builds for processors lack")
        if not torch.cuda.is_available():
            check.not_here("a GPU")

        @triton.jit
        def kernel(x, y, out, a, SIZE: tl.constexpr):
            at = tl.arange(0, SIZE)
            tl.store(out + at, a * tl.load(x + at) + tl.load(y + at))

        x, y = torch.from_numpy(X).cuda(), torch.from_numpy(Y).cuda()
        out = torch.empty_like(x)
        kernel[(1,)](x, y, out, 2.5, SIZE=8)
        return out.tolist()


def jax(check):
    import jax
    from jax.experimental import pallas as pl

    def kernel(x, y, out):
        out[...] = 2.5 * x[...] + y[...]

    @check("a x + y")
    def saxpy():
        processor = jax.default_backend() == "cpu"
        if processor:
            check.fallback("Pallas interprets on a CPU, it compiles for GPU and TPU")
        shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
        return pl.pallas_call(kernel, out_shape=shape, interpret=processor)(X, Y)


def tensorflow(check):
    check.nothing(
        "TensorFlow's kernels are C++ or CUDA, built apart",
        "tensorflow.experimental.kernel",
    )


def keras(check):
    check.nothing("Keras leaves kernels to its engine", "keras.ops.kernel")


def paddle(check):
    check.nothing(
        "Paddle's kernels are C++ or CUDA, built apart", "paddle.incubate.kernel"
    )


def mxnet(check):
    import mxnet as mx

    # Source of CUDA, compiled when the program runs.
    @check("a x + y")
    def saxpy():
        if not mx.context.num_gpus():
            check.not_here("a GPU, for mxnet.rtc.CudaModule")
        source = """extern "C" __global__ void axpy(const float *x, float *y, float a) {
            y[threadIdx.x] += a * x[threadIdx.x];
        }"""
        kernel = mx.rtc.CudaModule(source).get_kernel(
            "axpy", "const float *x, float *y, float a"
        )
        x, y = mx.nd.array(X, ctx=mx.gpu()), mx.nd.array(Y, ctx=mx.gpu())
        kernel.launch([x, y, 2.5], mx.gpu(), (1, 1, 1), (8, 1, 1))
        return y.asnumpy()


def mlx(check):
    import mlx.core as mx

    @check("a x + y")
    def saxpy():
        if not mx.metal.is_available():
            check.not_here("Metal or CUDA, for mx.fast.metal_kernel and cuda_kernel")
        kernel = mx.fast.metal_kernel(
            name="saxpy",
            input_names=["x", "y"],
            output_names=["out"],
            source="uint i = thread_position_in_grid.x; out[i] = 2.5f * x[i] + y[i];",
        )
        (out,) = kernel(
            inputs=[mx.array(X), mx.array(Y)],
            grid=(8, 1, 1),
            threadgroup=(8, 1, 1),
            output_shapes=[(8,)],
            output_dtypes=[mx.float32],
        )
        return np.array(out)


def chainer(check):
    @check("a x + y")
    def saxpy():
        try:
            import cupy
        except ImportError:
            check.not_here("a GPU, and the package cupy, for its ElementwiseKernel")
        kernel = cupy.ElementwiseKernel(
            "float32 x, float32 y", "float32 out", "out = 2.5f * x + y", "saxpy"
        )
        return cupy.asnumpy(kernel(cupy.asarray(X), cupy.asarray(Y)))


def cntk(check):
    import cntk as C

    @check("a x + y")
    def saxpy():
        if all(d.type() != C.DeviceKind.GPU for d in C.device.all_devices()):
            check.note("CUDA as a native function, of a build from the source")
        check.lacks("cntk.cuda_kernel", "it has no language for kernels")


def caffe2(check):
    from caffe2.python import workspace

    @check("a x + y")
    def saxpy():
        if not workspace.NumCudaDevices():
            check.not_here("a GPU, for the operator CUDARTC of builds with CUDA")
        check.no("no such operator")
