"""A shape error names the layer.

A network of three layers, "first", "second" and "third", of which the second does not
fit: is that refused, and does the message say which layer and which sizes?
"""


def refused(message):
    """an exception"""
    return bool(message)


def names_the_layer(message):
    """a message with the name of the layer: second"""
    return "second" in message


def names_the_sizes(message):
    """a message with both sizes: 5 and 7"""
    return "5" in message and "7" in message


CHECKS = {
    "is refused": refused,
    "names the layer": names_the_layer,
    "names the sizes": names_the_sizes,
}


def _judged(check, call):
    """The message of a call that must not come to an end."""
    message = ""
    try:
        call()
    except Exception as error:
        message = "%s: %s" % (type(error).__name__, error)
        message = "%s %s" % (message, " ".join(getattr(error, "__notes__", ())))

    @check("is refused")
    def _():
        return message

    @check("names the layer")
    def _():
        return message[-280:] if "second" in message[-280:] else message

    @check("names the sizes")
    def _():
        return message


def numpy(check):
    import autograd.numpy as anp

    first, second, third = anp.ones((3, 5)), anp.ones((7, 4)), anp.ones((4, 2))
    _judged(check, lambda: anp.ones((1, 3)) @ first @ second @ third)


def pytorch(check):
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 5)
            self.second = nn.Linear(7, 4)
            self.third = nn.Linear(4, 2)

        def forward(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: Network()(torch.ones(1, 3)))


def jax(check):
    import jax.numpy as jnp

    first, second, third = jnp.ones((3, 5)), jnp.ones((7, 4)), jnp.ones((4, 2))
    _judged(check, lambda: jnp.ones((1, 3)) @ first @ second @ third)


def flax(check):
    import jax.numpy as jnp
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 5, rngs=rngs)
            self.second = nnx.Linear(7, 4, rngs=rngs)
            self.third = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: Network(nnx.Rngs(0))(jnp.ones((1, 3))))


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    class Network(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear
        third: eqx.nn.Linear

        def __init__(self, keys):
            self.first = eqx.nn.Linear(3, 5, key=keys[0])
            self.second = eqx.nn.Linear(7, 4, key=keys[1])
            self.third = eqx.nn.Linear(4, 2, key=keys[2])

        def __call__(self, x):
            return self.third(self.second(self.first(x)))

    network = Network(jax.random.split(jax.random.key(0), 3))
    _judged(check, lambda: network(jnp.ones(3)))


def tensorflow(check):
    import tensorflow as tf

    first, second = tf.ones((3, 5)), tf.ones((7, 4))

    # An operation may be given a name, which its errors repeat.
    def network(x):
        x = tf.matmul(x, first, name="first")
        return tf.matmul(x, second, name="second")

    _judged(check, lambda: network(tf.ones((1, 3))))


def keras(check):
    import keras

    # Sizes come from the input as a rule; this layer was built for another one.
    second = keras.layers.Dense(4, name="second")
    second.build((None, 7))
    _judged(
        check,
        lambda: keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(5, name="first"),
                second,
                keras.layers.Dense(2, name="third"),
            ]
        ),
    )


def paddle(check):
    import paddle
    from paddle import nn

    class Network(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 5)
            self.second = nn.Linear(7, 4)
            self.third = nn.Linear(4, 2)

        def forward(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: Network()(paddle.ones([1, 3])))


def mxnet(check):
    from mxnet import gluon, nd

    network = gluon.nn.HybridSequential(prefix="")
    network.add(
        gluon.nn.Dense(5, in_units=3, prefix="first_"),
        gluon.nn.Dense(4, in_units=7, prefix="second_"),
        gluon.nn.Dense(2, in_units=4, prefix="third_"),
    )
    network.initialize()
    network.hybridize()
    _judged(check, lambda: network(nd.ones((1, 3))).asnumpy())


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 5)
            self.second = nn.Linear(7, 4)
            self.third = nn.Linear(4, 2)

        def __call__(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: mx.eval(Network()(mx.ones((1, 3)))))


def chainer(check):
    import chainer
    import numpy
    from chainer import links

    class Network(chainer.Chain):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.first = links.Linear(3, 5)
                self.second = links.Linear(7, 4)
                self.third = links.Linear(4, 2)

        def forward(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: Network()(numpy.ones((1, 3), "float32")))


def keras2(check):
    import keras

    # Sizes come from the input as a rule; this layer was built for another one.
    def network():
        second = keras.layers.Dense(4, name="second")
        second.build((None, 7))
        return keras.Sequential(
            [
                keras.layers.Dense(5, name="first", input_shape=(3,)),
                second,
                keras.layers.Dense(2, name="third"),
            ]
        )

    _judged(check, network)


def tinygrad(check):
    from tinygrad import Tensor, nn

    class Network:
        def __init__(self):
            self.first = nn.Linear(3, 5)
            self.second = nn.Linear(7, 4)
            self.third = nn.Linear(4, 2)

        def __call__(self, x):
            return self.third(self.second(self.first(x)))

    _judged(check, lambda: Network()(Tensor.ones(1, 3)).numpy())


def cntk(check):
    import cntk as C

    def build():
        x = C.input_variable(3)
        for name, shape in (("first", (3, 5)), ("second", (7, 4)), ("third", (4, 2))):
            x = C.times(x, C.parameter(shape, name=name), name=name)
        return x

    _judged(check, build)


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    def call():
        workspace.ResetWorkspace()
        net = core.Net("network")
        x = "x"
        workspace.FeedBlob("x", np.ones((1, 3), "float32"))
        for name, shape in (("first", (3, 5)), ("second", (7, 4)), ("third", (4, 2))):
            workspace.FeedBlob(name + "_w", np.ones(shape, "float32"))
            x = net.MatMul([x, name + "_w"], name)
        workspace.RunNetOnce(net)

    _judged(check, call)


def tensorflow1(check):
    import tensorflow as tf

    def call():
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, (1, 3))
            for name, shape in (
                ("first", (3, 5)),
                ("second", (7, 4)),
                ("third", (4, 2)),
            ):
                x = tf.matmul(x, tf.ones(shape), name=name)

    _judged(check, call)


def theano(check):
    import numpy as np
    import theano
    import theano.tensor as T

    def call():
        x = T.matrix(dtype="float32")
        y = x
        for name, shape in (("first", (3, 5)), ("second", (7, 4)), ("third", (4, 2))):
            y = T.dot(y, theano.shared(np.ones(shape, "float32"), name=name))
            y.name = name
        theano.function([x], y, mode="FAST_COMPILE")(np.ones((1, 3), "float32"))

    _judged(check, call)


def dynet(check):
    import dynet as dy

    def call():
        dy.renew_cg()
        collection, x = dy.ParameterCollection(), dy.inputVector([1.0, 1.0, 1.0])
        for name, shape in (("first", (5, 3)), ("second", (4, 7)), ("third", (2, 4))):
            x = collection.add_parameters(shape, name=name) * x
        x.npvalue()

    _judged(check, call)
