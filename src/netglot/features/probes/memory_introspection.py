"""Says what memory it uses.

Arrays of 12 MB are made: does the framework say that so many bytes more are in use, and
how large the largest use was, on the device it computes on here?
"""

#: Bytes of three arrays of a million float32 numbers.
BYTES = 3 * 4 * 1000 * 1000


def those_bytes(found):
    """12 MB more than before, a hundredth allowed"""
    return 0.99 * BYTES <= found <= 1.01 * BYTES


def at_least(found):
    """12 MB or more"""
    return BYTES <= found < 100 * BYTES


CHECKS = {"bytes in use": those_bytes, "the largest use": at_least}


def numpy(check):
    import tracemalloc

    import numpy as np

    # NumPy tells Python of what it allocates.
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        arrays = [np.ones(1000 * 1000, "float32") for _ in range(3)]
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(arrays) == 3

    @check("bytes in use")
    def use():
        check.note("by Python's tracemalloc, to which NumPy reports")
        return now - before

    @check("the largest use")
    def largest():
        return peak - before


def pytorch(check):
    import torch
    from torch.profiler import profile

    # torch.cuda.memory_allocated and max_memory_allocated ask the allocator of a GPU;
    # of processors only the profiler knows.
    with profile(profile_memory=True) as profiled:
        arrays = [torch.ones(1000, 1000) for _ in range(3)]
    assert len(arrays) == 3

    @check("bytes in use")
    def use():
        check.note("by the profiler")
        return sum(row.self_cpu_memory_usage for row in profiled.key_averages())

    @check("the largest use")
    def largest():
        if not torch.cuda.is_available():
            check.not_here("a GPU, whose allocator is asked by max_memory_allocated")
        torch.cuda.reset_peak_memory_stats()
        torch.ones(3000, 1000, device="cuda")
        return torch.cuda.max_memory_allocated()


def jax(check):
    import jax

    def live():
        return sum(array.nbytes for array in jax.live_arrays())

    before = live()
    arrays = [jax.numpy.ones((1000, 1000)) for _ in range(3)]
    use = live() - before
    assert len(arrays) == 3

    @check("bytes in use")
    def in_use():
        check.note("the sum of jax.live_arrays()")
        return use

    # memory_stats() of the device has a peak where its allocator counts; a compiled
    # function says what it will take wherever it runs.
    @check("the largest use")
    def largest():
        check.note("memory_stats() of the device: %s" % jax.devices()[0].memory_stats())
        like = jax.ShapeDtypeStruct((1000, 1000), "float32")
        compiled = jax.jit(lambda a, b: a @ b).lower(like, like).compile()
        memory = compiled.memory_analysis()
        check.note("memory_analysis() of a compiled product")
        return memory.argument_size_in_bytes + memory.output_size_in_bytes


def tensorflow(check):
    import tensorflow as tf

    for name, key in (("bytes in use", "current"), ("the largest use", "peak")):

        @check(name, refused_by=(ValueError,))
        def use():
            devices = tf.config.list_physical_devices("GPU")
            if devices:
                tf.config.experimental.reset_memory_stats("GPU:0")
            device = "GPU:0" if devices else "CPU:0"
            before = tf.config.experimental.get_memory_info(device)["current"]
            with tf.device(device):
                arrays = [tf.ones((1000, 1000)) for _ in range(3)]
            assert len(arrays) == 3
            return tf.config.experimental.get_memory_info(device)[key] - before


# Keras only counts what its variables take; the rest is the engine's.
def keras_tensorflow(check):
    tensorflow(check)


def keras_jax(check):
    jax(check)


def keras_torch(check):
    pytorch(check)


def paddle(check):
    import paddle

    # paddle.device.memory_allocated and max_memory_allocated ask the allocators of
    # devices, not that of the processor.
    for name, attribute in (
        ("bytes in use", "memory_allocated"),
        ("the largest use", "max_memory_allocated"),
    ):

        @check(name, refused_by=(ValueError, RuntimeError))
        def use():
            asked = getattr(paddle.device.cuda, attribute)
            before = asked()
            arrays = [paddle.ones([1000, 1000]) for _ in range(3)]
            assert len(arrays) == 3
            return asked() - before


def mxnet(check):
    import mxnet as mx

    for name in CHECKS:

        @check(name)
        def use():
            if not mx.context.num_gpus():
                check.not_here(
                    "a GPU, of which gpu_memory_info tells; of a CPU nothing"
                )
            before = mx.context.gpu_memory_info()[0]
            arrays = [mx.nd.ones((1000, 1000), ctx=mx.gpu()) for _ in range(3)]
            mx.nd.waitall()
            assert len(arrays) == 3
            return before - mx.context.gpu_memory_info()[0]


def mlx(check):
    import mlx.core as mx

    before = mx.get_active_memory()
    mx.reset_peak_memory()
    arrays = [mx.ones((1000, 1000)) + 0 for _ in range(3)]
    mx.eval(arrays)
    use, peak = mx.get_active_memory() - before, mx.get_peak_memory()
    check("bytes in use")(lambda: use)
    check("the largest use")(lambda: peak)


def cntk(check):
    import cntk as C

    for name in CHECKS:

        @check(name)
        def use():
            places = C.cntk_py, C.debugging, C.logging, C.device
            names = [n for place in places for n in dir(place) if "mem" in n.lower()]
            check.note("of memory it has %s" % ", ".join(sorted(set(names))))
            check.lacks(
                "cntk.cntk_py.get_memory_info",
                "it sets a trace of GPUs, and tells nothing",
            )


def caffe2(check):
    import numpy as np
    from caffe2.python import workspace

    workspace.ResetWorkspace()

    def used():
        return sum(workspace.GetBlobSizeBytes(name) for name in workspace.Blobs())

    @check("bytes in use")
    def use():
        check.note("the sum over the blobs of the workspace")
        before = used()
        for name in "abc":
            workspace.FeedBlob(name, np.ones((1000, 1000), "float32"))
        return used() - before

    @check("the largest use")
    def peak():
        check.lacks(
            "caffe2.python.workspace.GetMaxMemory",
            "of the CPU; GetGPUMemoryInfo tells of GPUs",
        )


def tinygrad(check):
    from tinygrad import GlobalCounters, Tensor

    before = GlobalCounters.mem_used
    arrays = [(Tensor.ones(1000, 1000) + 0).contiguous().realize() for _ in range(3)]
    use = GlobalCounters.mem_used - before
    assert len(arrays) == 3

    check("bytes in use")(lambda: use)

    @check("the largest use")
    def peak():
        check.lacks("tinygrad.GlobalCounters.mem_peak", "it counts what is in use now")
