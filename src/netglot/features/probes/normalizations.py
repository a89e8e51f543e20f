"""Normalizations.

Batch, layer, group, instance and root-mean-square normalization of the same array, by
the framework's own layers; the running statistics of the batch normalization.
"""

import numpy as np

EPSILON = 1e-3
#: (batch, height, width, channels); the channels are the axis of layer and RMS.
X = (np.random.RandomState(5).randint(-96, 97, (3, 4, 5, 6)) / 32.0).astype("float32")


def _normal(x, axes):
    x = x.astype("float64")
    spread = x.var(axes, keepdims=True) + EPSILON
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(spread)


_GROUPS = _normal(X.reshape(3, 4, 5, 2, 3), (1, 2, 4)).reshape(X.shape)
_VARIANCES = [X.astype("float64").var((0, 1, 2), ddof=ddof) for ddof in (0, 1)]


def _is_running(value, variance):
    """After one batch: a tenth of it, or all where the mean is freed of its start."""
    return any(
        np.allclose(value, right, rtol=1e-5)
        for right in (0.9 + 0.1 * variance, variance)
    )


def running_variance(value):
    """nine tenths of 1 and a tenth of the variance, over n or n - 1; or the variance"""
    return any(_is_running(value, variance) for variance in _VARIANCES)


def _divisor(value):
    return "over " + ("n" if _is_running(value, _VARIANCES[0]) else "n - 1")


CHECKS = {
    "batch": _normal(X, (0, 1, 2)),
    "batch: running variance": running_variance,
    "layer": _normal(X, (3,)),
    "group": _GROUPS,
    "instance": _normal(X, (1, 2)),
    "root mean square": X
    / np.sqrt((X.astype("float64") ** 2).mean(3, keepdims=True) + EPSILON),
}


def numpy(check):
    import autograd.numpy as anp

    def normal(x, axes):
        spread = anp.var(x, axes, keepdims=True) + EPSILON
        return (x - anp.mean(x, axes, keepdims=True)) / anp.sqrt(spread)

    by_hand = "no layers: mean and variance by hand"

    @check("batch")
    def batch():
        check.fallback(by_hand)
        return normal(X, (0, 1, 2))

    @check("batch: running variance")
    def running():
        check.fallback(by_hand)
        return 0.9 * anp.ones(6) + 0.1 * anp.var(X, (0, 1, 2))

    @check("layer")
    def layer():
        check.fallback(by_hand)
        return normal(X, (3,))

    @check("group")
    def group():
        check.fallback(by_hand)
        return normal(X.reshape(3, 4, 5, 2, 3), (1, 2, 4)).reshape(X.shape)

    @check("instance")
    def instance():
        check.fallback(by_hand)
        return normal(X, (1, 2))

    @check("root mean square")
    def rms():
        check.fallback(by_hand)
        return X / anp.sqrt(anp.mean(X**2, 3, keepdims=True) + EPSILON)


def pytorch(check):
    import torch
    from torch import nn

    first = torch.from_numpy(X).permute(0, 3, 1, 2)

    def channels_last(layer):
        return layer(first).permute(0, 2, 3, 1).detach().numpy()

    batch_norm = nn.BatchNorm2d(6, eps=EPSILON, momentum=0.1)

    @check("batch")
    def batch():
        return channels_last(batch_norm)

    @check("batch: running variance")
    def running():
        check.note(_divisor(batch_norm.running_var.numpy()))
        return batch_norm.running_var.numpy()

    @check("layer")
    def layer():
        return nn.LayerNorm(6, eps=EPSILON)(torch.from_numpy(X)).detach().numpy()

    @check("group")
    def group():
        return channels_last(nn.GroupNorm(2, 6, eps=EPSILON))

    @check("instance")
    def instance():
        return channels_last(nn.InstanceNorm2d(6, eps=EPSILON))

    @check("root mean square")
    def rms():
        return nn.RMSNorm(6, eps=EPSILON)(torch.from_numpy(X)).detach().numpy()


def jax(check):
    import jax
    import jax.numpy as jnp

    def normal(x, axes):
        return jax.nn.standardize(x, axis=axes, epsilon=EPSILON)

    by_hand = "no layers: jax.nn.standardize over the axes"

    @check("batch")
    def batch():
        check.fallback(by_hand)
        return normal(X, (0, 1, 2))

    @check("batch: running variance")
    def running():
        check.fallback("no layers that keep anything: by hand")
        return 0.9 * jnp.ones(6) + 0.1 * jnp.var(X, (0, 1, 2))

    @check("layer")
    def layer():
        check.fallback(by_hand)
        return normal(X, (3,))

    @check("group")
    def group():
        check.fallback(by_hand)
        return normal(X.reshape(3, 4, 5, 2, 3), (1, 2, 4)).reshape(X.shape)

    @check("instance")
    def instance():
        check.fallback(by_hand)
        return normal(X, (1, 2))

    @check("root mean square")
    def rms():
        check.fallback("no layers: by hand")
        return X * jax.lax.rsqrt(jnp.mean(X**2, 3, keepdims=True) + EPSILON)


def flax(check):
    from flax import nnx

    rngs = nnx.Rngs(0)
    batch_norm = nnx.BatchNorm(6, momentum=0.9, epsilon=EPSILON, rngs=rngs)

    @check("batch")
    def batch():
        return batch_norm(X)

    @check("batch: running variance")
    def running():
        check.note(_divisor(batch_norm.var[...]))
        return batch_norm.var[...]

    @check("layer")
    def layer():
        return nnx.LayerNorm(6, epsilon=EPSILON, rngs=rngs)(X)

    @check("group")
    def group():
        return nnx.GroupNorm(6, num_groups=2, epsilon=EPSILON, rngs=rngs)(X)

    @check("instance")
    def instance():
        return nnx.InstanceNorm(6, epsilon=EPSILON, rngs=rngs)(X)

    @check("root mean square")
    def rms():
        return nnx.RMSNorm(6, epsilon=EPSILON, rngs=rngs)(X)


def equinox(check):
    import equinox as eqx
    import jax

    first = X.transpose(0, 3, 1, 2)
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
        6, "batch", eps=EPSILON, momentum=0.9, mode="ema"
    )
    normed, state = jax.vmap(
        norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
    )(first, state)

    @check("batch")
    def batch():
        return normed.transpose(0, 2, 3, 1)

    @check("batch: running variance")
    def running():
        variance = state.get(norm.ema_state_index)[1]
        check.note(_divisor(variance))
        return variance

    @check("layer")
    def layer():
        norm = eqx.nn.LayerNorm(6, eps=EPSILON)
        return jax.vmap(jax.vmap(jax.vmap(norm)))(X)

    @check("group")
    def group():
        found = jax.vmap(eqx.nn.GroupNorm(2, 6, eps=EPSILON))(first)
        return found.transpose(0, 2, 3, 1)

    # A group per channel.
    @check("instance")
    def instance():
        found = jax.vmap(eqx.nn.GroupNorm(6, 6, eps=EPSILON))(first)
        return found.transpose(0, 2, 3, 1)

    @check("root mean square")
    def rms():
        norm = eqx.nn.RMSNorm(6, eps=EPSILON)
        return jax.vmap(jax.vmap(jax.vmap(norm)))(X)


def tensorflow(check):
    import tensorflow as tf

    _with_keras(check, tf.keras)


def keras(check):
    import keras

    _with_keras(check, keras)


def _with_keras(check, keras):
    layers, array = keras.layers, keras.ops.convert_to_numpy
    batch_norm = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON)

    @check("batch")
    def batch():
        return array(batch_norm(X, training=True))

    @check("batch: running variance")
    def running():
        variance = array(batch_norm.moving_variance)
        check.note(_divisor(variance))
        return variance

    @check("layer")
    def layer():
        return array(layers.LayerNormalization(epsilon=EPSILON)(X))

    @check("group")
    def group():
        return array(layers.GroupNormalization(2, epsilon=EPSILON)(X))

    # A group per channel.
    @check("instance")
    def instance():
        return array(layers.GroupNormalization(-1, epsilon=EPSILON)(X))

    @check("root mean square")
    def rms():
        return array(layers.RMSNormalization(epsilon=EPSILON)(X))


def paddle(check):
    import paddle
    from paddle import nn

    first = paddle.to_tensor(X.transpose(0, 3, 1, 2))
    last = paddle.to_tensor(X)

    def channels_last(layer):
        return layer(first).numpy().transpose(0, 2, 3, 1)

    batch_norm = nn.BatchNorm2D(6, momentum=0.9, epsilon=EPSILON)

    @check("batch")
    def batch():
        return channels_last(batch_norm)

    @check("batch: running variance")
    def running():
        variance = batch_norm._variance.numpy()
        check.note(_divisor(variance))
        return variance

    @check("layer")
    def layer():
        return nn.LayerNorm(6, epsilon=EPSILON)(last).numpy()

    @check("group")
    def group():
        return channels_last(nn.GroupNorm(2, 6, epsilon=EPSILON))

    @check("instance")
    def instance():
        return channels_last(nn.InstanceNorm2D(6, epsilon=EPSILON))

    @check("root mean square", refused_by=(RuntimeError, NotImplementedError))
    def rms():
        # As a function, and made for GPUs.
        return nn.functional.rms_norm(last, [6], paddle.ones([6]), eps=EPSILON)[
            0
        ].numpy()


def mxnet(check):
    from mxnet import autograd, gluon, nd

    first, last = nd.array(X.transpose(0, 3, 1, 2)), nd.array(X)

    def normal(layer, x):
        layer.initialize()
        with autograd.train_mode():
            return layer(x).asnumpy()

    def channels_last(layer):
        return normal(layer, first).transpose(0, 2, 3, 1)

    batch_norm = gluon.nn.BatchNorm(momentum=0.9, epsilon=EPSILON)

    @check("batch")
    def batch():
        batch_norm.initialize()
        with autograd.record():
            found = batch_norm(first)
        found.backward()
        return found.asnumpy().transpose(0, 2, 3, 1)

    @check("batch: running variance")
    def running():
        variance = batch_norm.running_var.data().asnumpy()
        check.note(_divisor(variance))
        return variance

    check("layer")(lambda: normal(gluon.nn.LayerNorm(epsilon=EPSILON), last))
    check("group")(lambda: channels_last(gluon.nn.GroupNorm(2, epsilon=EPSILON)))
    check("instance")(lambda: channels_last(gluon.nn.InstanceNorm(epsilon=EPSILON)))

    @check("root mean square")
    def rms():
        check.lacks("mxnet.gluon.nn.RMSNorm", "it came after MXNet")


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    x = mx.array(X)
    batch_norm = nn.BatchNorm(6, eps=EPSILON, momentum=0.1)
    batch_norm.train()

    check("batch")(lambda: np.array(batch_norm(x)))

    @check("batch: running variance")
    def running():
        variance = np.array(batch_norm.running_var)
        check.note(_divisor(variance))
        return variance

    check("layer")(lambda: np.array(nn.LayerNorm(6, eps=EPSILON)(x)))

    @check("group")
    def group():
        check.note(
            "with pytorch_compatible=True: else a group takes every other channel"
        )
        layer = nn.GroupNorm(2, 6, eps=EPSILON, pytorch_compatible=True)
        return np.array(layer(x))

    check("instance")(lambda: np.array(nn.InstanceNorm(6, eps=EPSILON)(x)))
    check("root mean square")(lambda: np.array(nn.RMSNorm(6, eps=EPSILON)(x)))


def chainer(check):
    import chainer
    from chainer import links

    first = X.transpose(0, 3, 1, 2).copy()
    batch_norm = links.BatchNormalization(6, decay=0.9, eps=EPSILON)

    def channels_last(found):
        return found.array.transpose(0, 2, 3, 1)

    @check("batch")
    def batch():
        with chainer.using_config("train", True):
            return channels_last(batch_norm(first))

    @check("batch: running variance")
    def running():
        check.note(_divisor(batch_norm.avg_var))
        return batch_norm.avg_var

    @check("layer")
    def layer():
        found = links.LayerNormalization(6, eps=EPSILON)(X.reshape(-1, 6))
        return found.array.reshape(X.shape)

    @check("group")
    def group():
        return channels_last(links.GroupNormalization(2, 6, eps=EPSILON)(first))

    # A group per channel.
    @check("instance")
    def instance():
        return channels_last(links.GroupNormalization(6, 6, eps=EPSILON)(first))

    @check("root mean square")
    def rms():
        check.lacks("chainer.functions.rms_normalization", "it came after Chainer")


def keras2(check):
    import keras

    layer = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=EPSILON, input_shape=X.shape[1:]
    )
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    learning = keras.backend.learning_phase()

    @check("batch")
    def batch():
        call = keras.backend.function([model.input, learning], [model.output])
        return call([X, 1])[0]

    # Of images on TensorFlow it is brought from n to n - 1 twice: by the operation and
    # by Keras.
    @check("batch: running variance")
    def running():
        model.train_on_batch(X, X)
        variance = layer.get_weights()[3]
        return variance

    for name, attribute in (
        ("layer", "LayerNormalization"),
        ("group", "GroupNormalization"),
        ("instance", "InstanceNormalization"),
        ("root mean square", "RMSNormalization"),
    ):

        @check(name)
        def lacking():
            check.lacks("keras.layers." + attribute, "it is in keras-contrib, or later")


def cntk(check):
    import cntk as C

    first = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    x = C.input_variable(first.shape[1:])
    model = C.layers.BatchNormalization(
        map_rank=1, epsilon=EPSILON, normalization_time_constant=len(X) / -np.log(0.9)
    )(x)

    @check("batch")
    def batch():
        learner = C.sgd(model.parameters, 0.0, minibatch_size=C.learners.IGNORE)
        trainer = C.Trainer(model, C.reduce_sum(model), [learner])
        _, found = trainer.train_minibatch({x: first}, outputs=[model.output])
        return (
            np.asarray(found[model.output]).reshape(first.shape).transpose(0, 2, 3, 1)
        )

    @check("batch: running variance")
    def running():
        variance = {c.name: c for c in model.constants}["aggregate_variance"].value
        check.note(_divisor(variance))
        return variance

    # All axes of an observation are one: each pixel is fed as one. The epsilon is added
    # to the deviation and not to the variance.
    @check("layer")
    def layer():
        rows = X.reshape(-1, X.shape[-1])
        pixel = C.input_variable(X.shape[-1])
        found = C.layers.LayerNormalization(epsilon=EPSILON)(pixel).eval({pixel: rows})
        return found.reshape(X.shape)

    for name, lacking in (
        ("group", "GroupNormalization"),
        ("instance", "InstanceNormalization"),
        ("root mean square", "RMSNormalization"),
    ):

        @check(name)
        def absent():
            layers = [n for n in dir(C.layers) if n.endswith("Normalization")]
            check.note("it has %s" % " and ".join(sorted(layers)))
            check.lacks("cntk.layers." + lacking, "no such layer")


def caffe2(check):
    from caffe2.python import core, workspace

    first = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    channels = X.shape[-1]

    def run(kind, inputs, outputs, x, **options):
        workspace.FeedBlob("x", x)
        workspace.FeedBlob("one", np.ones(channels, "float32"))
        workspace.FeedBlob("zero", np.zeros(channels, "float32"))
        workspace.FeedBlob("mean", np.zeros(channels, "float32"))
        workspace.FeedBlob("variance", np.ones(channels, "float32"))
        op = core.CreateOperator(kind, ["x"] + inputs, ["y"] + outputs, **options)
        workspace.RunOperatorOnce(op)
        return workspace.FetchBlob("y")

    def moved(array):
        return array.transpose(0, 2, 3, 1)

    @check("batch")
    def batch():
        return moved(
            run(
                "SpatialBN",
                ["one", "zero", "mean", "variance"],
                ["mean", "variance", "saved_mean", "saved_inverse"],
                first,
                epsilon=EPSILON,
                momentum=0.9,
                is_test=0,
            )
        )

    @check("batch: running variance")
    def running():
        variance = workspace.FetchBlob("variance")
        check.note(_divisor(variance))
        return variance

    @check("layer")
    def layer():
        return run("LayerNorm", [], ["means", "deviations"], X, axis=3, epsilon=EPSILON)

    @check("group")
    def group():
        return moved(
            run("GroupNorm", ["one", "zero"], [], first, group=2, epsilon=EPSILON)
        )

    @check("instance")
    def instance():
        return moved(run("InstanceNorm", ["one", "zero"], [], first, epsilon=EPSILON))

    @check("root mean square")
    def rms():
        found = run("RMSNorm", ["one", "zero"], ["inverse"], X, axis=3, eps=EPSILON)
        return found


def tinygrad(check):
    from tinygrad import Context, Tensor, nn

    first, last = Tensor(X.transpose(0, 3, 1, 2).copy()), Tensor(X)
    batch_norm = nn.BatchNorm(6, eps=EPSILON)

    def moved(found):
        return found.numpy().transpose(0, 2, 3, 1)

    @check("batch")
    def batch():
        with Context(TRAINING=1):
            return moved(batch_norm(first))

    @check("batch: running variance")
    def running():
        variance = batch_norm.running_var.numpy()
        check.note(_divisor(variance))
        return variance

    check("layer")(lambda: nn.LayerNorm(6, eps=EPSILON)(last).numpy())
    check("group")(lambda: moved(nn.GroupNorm(2, 6, eps=EPSILON)(first)))
    check("instance")(lambda: moved(nn.InstanceNorm(6, eps=EPSILON)(first)))
    check("root mean square")(lambda: nn.RMSNorm(6, eps=EPSILON)(last).numpy())
