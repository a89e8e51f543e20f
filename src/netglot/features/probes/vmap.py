"""Vectorizing map.

Does a function of one observation become one of a batch, without a loop in Python?
"""

import numpy as np

BATCH = np.arange(12.0).reshape(4, 3) / 10
MATRIX = np.array([[1.0, -2.0, 0.5], [3.0, 0.7, -1.5]])
SCALES = np.array([1.0, 0.5, -2.0])


def _cubed(x):
    y = MATRIX @ x
    return np.sum(y * y) * y


def five_at_most(calls):
    """Python runs the function a few times, not once per observation."""
    return 1 <= calls <= 5


CHECKS = {
    "over the observations": np.stack([_cubed(x) for x in BATCH]),
    "how often Python runs it for 1000": five_at_most,
    # a column of the batch and its scale; what is added is shared
    "over the second axis, an argument shared": SCALES * (BATCH**2).sum(0) + 10,
    "all pairs, a map in a map": BATCH @ BATCH.T,
}


def numpy(check):
    check.nothing("autograd differentiates; NumPy broadcasts by hand", "autograd.vmap")


def pytorch(check):
    import torch
    from torch.func import vmap

    batch, matrix, scales = map(torch.tensor, (BATCH, MATRIX, SCALES))

    @check("over the observations")
    def observations():
        def cubed(x):
            y = matrix @ x
            return (y * y).sum() * y

        return vmap(cubed)(batch)

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        vmap(lambda x: seen.append(1) or x.dot(x))(torch.ones(1000, 3))
        return len(seen)

    @check("over the second axis, an argument shared")
    def axes():
        def weighed(x, scale, more):
            return scale * x.dot(x) + more

        return vmap(weighed, in_dims=(1, 0, None))(batch, scales, 10)

    @check("all pairs, a map in a map")
    def pairs():
        return vmap(lambda a: vmap(a.dot)(batch))(batch)


def jax(check):
    import jax
    import jax.numpy as jnp

    batch, scales = jnp.array(BATCH), jnp.array(SCALES)

    @check("over the observations")
    def observations():
        def cubed(x):
            y = MATRIX @ x
            return jnp.sum(y * y) * y

        return jax.vmap(cubed)(batch)

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        jax.vmap(lambda x: seen.append(1) or jnp.dot(x, x))(jnp.ones((1000, 3)))
        return len(seen)

    @check("over the second axis, an argument shared")
    def axes():
        def weighed(x, scale, more):
            return scale * jnp.dot(x, x) + more

        return jax.vmap(weighed, in_axes=(1, 0, None))(batch, scales, 10)

    @check("all pairs, a map in a map")
    def pairs():
        return jax.vmap(lambda a: jax.vmap(lambda b: jnp.dot(a, b))(batch))(batch)


def tensorflow(check):
    import tensorflow as tf

    batch, scales = tf.constant(BATCH), tf.constant(SCALES)

    @check("over the observations")
    def observations():
        def cubed(x):
            y = tf.linalg.matvec(MATRIX, x)
            return tf.reduce_sum(y * y) * y

        return tf.vectorized_map(cubed, batch)

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        tf.vectorized_map(
            lambda x: seen.append(1) or tf.tensordot(x, x, 1), tf.ones((1000, 3))
        )
        return len(seen)

    # It goes over the first axis only: what has others is transposed before.
    @check("over the second axis, an argument shared")
    def axes():
        def weighed(arguments):
            x, scale = arguments
            return scale * tf.tensordot(x, x, 1) + 10

        return tf.vectorized_map(weighed, (tf.transpose(batch), scales))

    @check("all pairs, a map in a map")
    def pairs():
        return tf.vectorized_map(
            lambda a: tf.vectorized_map(lambda b: tf.tensordot(a, b, 1), batch), batch
        )


def keras(check):
    from keras import ops

    batch = ops.convert_to_tensor(BATCH, "float32")
    matrix = ops.convert_to_tensor(MATRIX, "float32")
    scales = ops.convert_to_tensor(SCALES, "float32")

    @check("over the observations")
    def observations():
        def cubed(x):
            y = ops.matmul(matrix, x)
            return ops.sum(y * y) * y

        return ops.convert_to_numpy(ops.vectorized_map(cubed, batch))

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        ops.vectorized_map(
            lambda x: seen.append(1) or ops.dot(x, x), ops.ones((1000, 3))
        )
        return len(seen)

    # It goes over the first axis only: what has others is transposed before.
    @check("over the second axis, an argument shared")
    def axes():
        def weighed(arguments):
            x, scale = arguments
            return scale * ops.dot(x, x) + 10

        found = ops.vectorized_map(weighed, (ops.transpose(batch), scales))
        return ops.convert_to_numpy(found)

    @check("all pairs, a map in a map")
    def pairs():
        found = ops.vectorized_map(
            lambda a: ops.vectorized_map(lambda b: ops.dot(a, b), batch), batch
        )
        return ops.convert_to_numpy(found)


def paddle(check):
    check.nothing("PaddlePaddle has no vectorizing map", "paddle.vmap")


def mlx(check):
    import mlx.core as mx

    batch, matrix, scales = mx.array(BATCH), mx.array(MATRIX), mx.array(SCALES)

    @check("over the observations")
    def observations():
        def cubed(x):
            y = matrix @ x
            return mx.sum(y * y) * y

        return np.array(mx.vmap(cubed)(batch))

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        mx.vmap(lambda x: seen.append(1) or mx.sum(x * x))(mx.ones((1000, 3)))
        return len(seen)

    @check("over the second axis, an argument shared")
    def axes():
        def weighed(x, scale, more):
            return scale * mx.sum(x * x) + more

        mapped = mx.vmap(weighed, in_axes=(1, 0, None))
        return np.array(mapped(batch, scales, mx.array(10.0)))

    @check("all pairs, a map in a map")
    def pairs():
        inner = mx.vmap(lambda a, b: mx.sum(a * b), in_axes=(None, 0))
        return np.array(mx.vmap(inner, in_axes=(0, None))(batch, batch))


def theano(check):
    check.nothing("Theano broadcasts; what cannot, it scans", "theano.vmap")


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.graph.replace import vectorize_graph

    def value(graph, inputs, *values):
        return pytensor.function(inputs, graph, mode="FAST_COMPILE")(*values)

    x = T.vector("x", dtype="float64")
    batch = T.matrix("batch", dtype="float64")

    # A graph of one observation becomes a graph of a batch: no Python function is run.
    @check("over the observations")
    def observations():
        y = MATRIX @ x
        return value(vectorize_graph(T.sum(y * y) * y, {x: batch}), [batch], BATCH)

    @check("how often Python runs it for 1000")
    def runs():
        seen = []

        def squared(x):
            seen.append(1)
            return T.sum(x * x)

        graph = vectorize_graph(squared(x), {x: batch})
        value(graph, [batch], np.ones((1000, 3)))
        return len(seen)

    @check("over the second axis, an argument shared")
    def axes():
        scale, more = (
            T.scalar("scale", dtype="float64"),
            T.scalar("more", dtype="float64"),
        )
        scales = T.vector("scales", dtype="float64")
        y = scale * T.sum(x * x) + more
        graph = vectorize_graph(y, {x: batch.T, scale: scales})
        return value(graph, [batch, scales, more], BATCH, SCALES, 10.0)

    @check("all pairs, a map in a map")
    def pairs():
        a, b = T.vector("a", dtype="float64"), T.vector("b", dtype="float64")
        other = T.matrix("other", dtype="float64")
        row = vectorize_graph(T.sum(a * b), {b: batch})
        return value(vectorize_graph(row, {a: other}), [batch, other], BATCH, BATCH)


def tensorflow1(check):
    import tensorflow as tf

    batch, scales = tf.constant(BATCH), tf.constant(SCALES)

    def run(graph):
        with tf.Session() as session:
            return session.run(graph)

    @check("over the observations")
    def observations():
        def cubed(x):
            y = tf.reduce_sum(MATRIX * x, 1)
            return tf.reduce_sum(y * y) * y

        return run(tf.vectorized_map(cubed, batch))

    @check("how often Python runs it for 1000")
    def runs():
        seen = []
        mapped = tf.vectorized_map(
            lambda x: seen.append(1) or tf.reduce_sum(x * x), tf.ones((1000, 3))
        )
        run(mapped)
        return len(seen)

    # It goes over the first axis only: what has others is transposed before.
    @check("over the second axis, an argument shared")
    def axes():
        def weighed(arguments):
            x, scale = arguments
            return scale * tf.reduce_sum(x * x) + 10

        return run(tf.vectorized_map(weighed, (tf.transpose(batch), scales)))

    @check("all pairs, a map in a map", refused_by=(ValueError,))
    def pairs():
        return run(
            tf.vectorized_map(
                lambda a: tf.vectorized_map(lambda b: tf.reduce_sum(a * b), batch),
                batch,
            )
        )


def chainer(check):
    check.nothing("Chainer has no vectorizing map", "chainer.vmap")


def mxnet(check):
    check.nothing("MXNet has no vectorizing map", "mxnet.vmap")


def dynet(check):
    check.nothing(
        "DyNet batches operations by itself (autobatch), not functions", "dynet.vmap"
    )


def keras2(check):
    check.nothing("K.map_fn loops in the graph", "keras.backend.vectorized_map")


def cntk(check):
    import cntk as C

    # Every function is one of an observation; the batch is the axis that it gets.
    @check("over the observations")
    def observations():
        x = C.input_variable(3)
        y = C.times(C.constant(MATRIX.astype("float32")), C.reshape(x, (3, 1)))
        cubed = C.reduce_sum(y * y) * y
        return cubed.eval({x: BATCH.astype("float32")})[:, :, 0]

    @check("how often Python runs it for 1000")
    def runs():
        seen = []

        @C.Function
        def total(x):
            seen.append(1)
            return C.reduce_sum(x * x)

        x = C.input_variable(3)
        found = total(x).eval({x: np.ones((1000, 3), "float32")})
        assert found.shape[0] == 1000
        return len(seen)

    # The batch is the first axis of what is fed: what has others is transposed before.
    @check("over the second axis, an argument shared")
    def axes():
        x, scale = C.input_variable(4), C.input_variable(())
        weighed = scale * C.reduce_sum(x * x) + 10
        return weighed.eval(
            {x: BATCH.T.astype("float32"), scale: SCALES.astype("float32")}
        ).reshape(3)

    # The batch is one axis, a sequence is another: its elements meet each observation.
    @check("all pairs, a map in a map")
    def pairs():
        a, b = C.input_variable(3), C.sequence.input_variable(3)
        found = C.reduce_sum(C.sequence.broadcast_as(a, b) * b)
        batch = BATCH.astype("float32")
        return found.eval({a: batch, b: [batch] * len(batch)})


def caffe2(check):
    check.nothing(
        "operators have shapes, and no map over them", "caffe2.python.core.Net.Map"
    )
