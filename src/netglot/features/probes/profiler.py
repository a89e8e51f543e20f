"""Profiler.

A few products of matrices are run under the framework's profiler: does it name the
product, and count how often it ran?
"""

TIMES, SIZE = 7, 300


def names_the_product(names):
    """A name of the product of matrices among what took time"""
    words = ("mm", "matmul", "dot", "gemm", "fullyconnected", "fully_connected")
    return any(word in str(name).lower() for name in names for word in words)


CHECKS = {
    "names what took time": names_the_product,
    "counts the product": TIMES,
}


def numpy(check):
    check.nothing("Python's cProfile sees functions of Python", "autograd.profiler")


def pytorch(check):
    import torch
    from torch.profiler import ProfilerActivity, profile

    a = torch.ones(SIZE, SIZE)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(TIMES):
            a @ a
    rows = {row.key: row.count for row in profiled.key_averages()}
    check("names what took time")(lambda: sorted(rows))
    check("counts the product")(lambda: rows["aten::mm"])


def jax(check):
    import glob

    import jax
    from jax.profiler import ProfileData

    product = jax.jit(lambda x: x @ x)
    a = jax.numpy.ones((SIZE, SIZE))
    product(a).block_until_ready()
    with check.folder() as folder:
        with jax.profiler.trace(folder):
            for _ in range(TIMES):
                product(a).block_until_ready()
        (path,) = glob.glob(folder + "/**/*.xplane.pb", recursive=True)
        found = [
            event.name
            for plane in ProfileData.from_file(path).planes
            for line in plane.lines
            for event in line.events
        ]

    @check("names what took time")
    def names():
        return sorted({name for name in found if "dot" in name.lower()})

    @check("counts the product")
    def count():
        return max(
            [found.count(n) for n in set(found) if n.lower().startswith("dot")] or [0]
        )


def tensorflow(check):
    import glob

    import tensorflow as tf

    a = tf.ones((SIZE, SIZE))
    with check.folder() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(TIMES):
                tf.matmul(a, a)
        (path,) = glob.glob(folder + "/**/*.xplane.pb", recursive=True)
        with open(path, "rb") as file:
            content = file.read()

    # TensorBoard's plugin reads the file; here it is only searched.
    @check("names what took time")
    def names():
        return ["MatMul"] if b"MatMul" in content else []

    @check("counts the product")
    def count():
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        space = xplane_pb2.XSpace.FromString(content)
        return sum(
            plane.event_metadata[event.metadata_id].name.startswith("MatMul")
            for plane in space.planes
            for line in plane.lines
            for event in line.events
        )


# Keras has TensorBoard's callback for TensorFlow; else the engine's profiler.
def keras_tensorflow(check):
    tensorflow(check)


def keras_jax(check):
    jax(check)


def keras_torch(check):
    pytorch(check)
