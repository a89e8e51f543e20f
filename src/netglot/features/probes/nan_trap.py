"""Finds the operation that makes a NaN.

In a chain of operations one makes a NaN of good numbers: the logarithm of a negative
number on the way forward; on the way back the square root at 0, whose infinite
gradient is multiplied by 0. Does a switch of the framework stop there and say which?
"""


def names_the_logarithm(message):
    """an error that says that the logarithm did it"""
    return "log" in message.lower()


def names_the_square_root(message):
    """an error that says that the square root did it, or its derivative"""
    return "sqrt" in message.lower()


CHECKS = {
    "on the way forward": names_the_logarithm,
    "on the way back": names_the_square_root,
}


def _message(call, kinds):
    """What an exception of these kinds says; nothing where none comes."""
    try:
        call()
    except kinds as error:
        return "%s: %s" % (type(error).__name__, error)
    return "went on in silence"


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    @check("on the way forward")
    def forward():
        with anp.errstate(all="raise"):
            return _message(
                lambda: anp.sum(2 * anp.log(anp.ones(3) - 2) + 1), FloatingPointError
            )

    # The derivative of the root is a power of NumPy's, and that is what is named.
    @check("on the way back")
    def backward():
        with anp.errstate(all="raise"):
            return _message(
                lambda: grad(lambda x: anp.sum(0 * anp.sqrt(x)))(anp.zeros(3)),
                FloatingPointError,
            )


def pytorch(check):
    import torch

    @check("on the way forward")
    def forward():
        x = torch.ones(3, requires_grad=True)
        with torch.autograd.detect_anomaly(check_nan=True):
            return _message(
                lambda: (2 * torch.log(x - 2) + 1).sum().backward(), RuntimeError
            )

    @check("on the way back")
    def backward():
        x = torch.zeros(3, requires_grad=True)
        with torch.autograd.detect_anomaly(check_nan=True):
            return _message(lambda: (0 * torch.sqrt(x)).sum().backward(), RuntimeError)


def jax(check):
    import jax
    import jax.numpy as jnp

    @check("on the way forward")
    def forward():
        with jax.debug_nans(True):
            return _message(
                lambda: jax.jit(lambda x: jnp.sum(2 * jnp.log(x - 2) + 1))(jnp.ones(3)),
                FloatingPointError,
            )

    @check("on the way back")
    def backward():
        with jax.debug_nans(True):
            return _message(
                lambda: jax.grad(lambda x: jnp.sum(0 * jnp.sqrt(x)))(jnp.zeros(3)),
                FloatingPointError,
            )


def tensorflow(check):
    import tensorflow as tf

    def stopped(call):
        tf.debugging.enable_check_numerics()
        try:
            return _message(call, tf.errors.InvalidArgumentError)
        finally:
            tf.debugging.disable_check_numerics()

    @check("on the way forward")
    def forward():
        return stopped(lambda: tf.reduce_sum(2 * tf.math.log(tf.ones(3) - 2) + 1))

    # Its gradient of the root is 0 where what comes back is 0, so no NaN is made; but
    # the trap stops at the infinity before it. Of what runs eagerly only the way
    # forward is looked at.
    @check("on the way back")
    def backward():
        @tf.function
        def back():
            x = tf.zeros(3)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(tf.sqrt(x))
            return tape.gradient(y, x)

        return stopped(back)


# Keras' own TerminateOnNaN only knows of the batch: the operation is found by the
# engine, whose switch holds for Keras' operations too.
def keras_tensorflow(check):
    import keras
    import tensorflow as tf

    def stopped(call):
        check.fallback("by the engine: tf.debugging.enable_check_numerics")
        tf.debugging.enable_check_numerics()
        try:
            return _message(call, tf.errors.InvalidArgumentError)
        finally:
            tf.debugging.disable_check_numerics()

    @check("on the way forward")
    def forward():
        return stopped(lambda: keras.ops.sum(2 * keras.ops.log(tf.ones(3) - 2) + 1))

    @check("on the way back")
    def backward():
        x = keras.Variable([0.0, 0.0, 0.0])

        @tf.function
        def back():
            with tf.GradientTape() as tape:
                y = keras.ops.sum(keras.ops.sqrt(x))
            return tape.gradient(y, x.value)

        return stopped(back)


def keras_jax(check):
    import jax
    import keras

    @check("on the way forward")
    def forward():
        check.fallback("by the engine: jax.debug_nans")
        with jax.debug_nans(True):
            return _message(
                lambda: keras.ops.sum(2 * keras.ops.log(keras.ops.ones(3) - 2) + 1),
                FloatingPointError,
            )

    @check("on the way back")
    def backward():
        check.fallback("by the engine: jax.debug_nans")
        with jax.debug_nans(True):
            return _message(
                lambda: jax.grad(lambda x: keras.ops.sum(0 * keras.ops.sqrt(x)))(
                    keras.ops.zeros(3)
                ),
                FloatingPointError,
            )


def keras_torch(check):
    import keras
    import torch

    def stopped(function, start):
        check.fallback("by the engine: torch.autograd.detect_anomaly")
        x = keras.Variable(start)
        with torch.autograd.detect_anomaly(check_nan=True):
            return _message(lambda: function(x).backward(), RuntimeError)

    @check("on the way forward")
    def forward():
        return stopped(
            lambda x: keras.ops.sum(2 * keras.ops.log(x - 2) + 1), [1.0, 1.0, 1.0]
        )

    @check("on the way back")
    def backward():
        return stopped(lambda x: keras.ops.sum(0 * keras.ops.sqrt(x)), [0.0, 0.0, 0.0])


def paddle(check):
    import paddle

    def stopped(call):
        paddle.set_flags({"FLAGS_check_nan_inf": True})
        try:
            return _message(call, (RuntimeError, OSError, ValueError))
        finally:
            paddle.set_flags({"FLAGS_check_nan_inf": False})

    @check("on the way forward")
    def forward():
        return stopped(lambda: (2 * paddle.log(paddle.ones([3]) - 2) + 1).sum())

    @check("on the way back")
    def backward():
        x = paddle.zeros([3])
        x.stop_gradient = False
        return stopped(lambda: (0 * paddle.sqrt(x)).sum().backward())


def mxnet(check):
    import mxnet as mx

    # A monitor of the Module API shows statistics of every output; it stops nothing.
    # What it says of an operation is its name, from which the kind is told.
    def first_bad(network, x, pattern):
        monitor = mx.monitor.Monitor(1, lambda a: a.norm(), pattern=pattern, sort=False)
        executor = network.simple_bind(mx.cpu(), x=x.shape)
        monitor.install(executor)
        executor.arg_dict["x"][:] = x
        monitor.tic()
        executor.forward(is_train=True)
        executor.backward()
        bad = [name for _, name, norm in monitor.toc() if "nan" in norm]
        return bad[0] if bad else "went on in silence"

    x = mx.sym.Variable("x")

    @check("on the way forward")
    def forward():
        network = mx.sym.make_loss(2 * mx.sym.log(x - 2) + 1)
        return first_bad(network, mx.nd.ones(3), ".*output")

    @check("on the way back")
    def backward():
        network = mx.sym.make_loss(0 * mx.sym.sqrt(x))
        return first_bad(network, mx.nd.zeros(3), ".*")


def mlx(check):
    check.nothing("MLX has no switch for it", "mlx.core.debug_nans")


def chainer(check):
    import chainer
    import numpy
    from chainer import functions

    def stopped(call):
        with chainer.using_config("debug", True), numpy.errstate(all="ignore"):
            return _message(call, RuntimeError)

    @check("on the way forward")
    def forward():
        x = chainer.Variable(numpy.ones(3, "float32"))
        return stopped(lambda: functions.sum(2 * functions.log(x - 2) + 1))

    @check("on the way back")
    def backward():
        x = chainer.Variable(numpy.zeros(3, "float32"))
        return stopped(lambda: functions.sum(0 * functions.sqrt(x)).backward())


def cntk(check):
    import cntk as C
    import numpy as np

    x = C.input_variable(3, needs_gradient=True)
    C.debugging.set_checked_mode(True)
    try:
        # The logarithm of what is not positive is -85.1: no NaN comes up.
        @check("on the way forward")
        def forward():
            bad = np.full((1, 3), -1, "float32")
            check.note("log(-1) is %.1f" % C.log(x).eval({x: bad})[0, 0])
            return _message(lambda: (2 * C.log(x) + 1).eval({x: bad}), RuntimeError)

        @check("on the way back")
        def backward():
            total = C.reduce_sum(0 * C.sqrt(x))
            zeros = np.zeros((1, 3), "float32")
            return _message(lambda: total.grad({x: zeros}, wrt=[x]), RuntimeError)

    finally:
        C.debugging.set_checked_mode(False)


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    # EnforceFinite is an operator that one puts behind another; what it refuses has the
    # name of the blob.
    @check("on the way forward")
    def forward():
        workspace.FeedBlob("x", np.full(3, -1, "float32"))
        net = core.Net("forward")
        y = net.Log("x", "y")
        net.EnforceFinite(y, [])
        net.Scale(y, "z", scale=2.0)
        return _message(lambda: workspace.RunNetOnce(net), RuntimeError)

    @check("on the way back")
    def backward():
        workspace.FeedBlob("x", np.zeros(3, "float32"))
        net = core.Net("backward")
        y = net.Scale(net.Sqrt("x", "y"), "z", scale=0.0)
        gradients = net.AddGradientOperators([net.SumElements(y, "total")])
        net.EnforceFinite(gradients["x"], [])
        return _message(lambda: workspace.RunNetOnce(net), RuntimeError)


def tensorflow1(check):
    import tensorflow as tf

    def run(build):
        with tf.Graph().as_default(), tf.Session() as session:
            fetched = build()
            session.run([fetched, tf.add_check_numerics_ops()])

    def forward():
        x = tf.placeholder_with_default([-1.0, -1.0], (2,))
        return 2 * tf.log(x) + 1

    def backward():
        x = tf.placeholder_with_default([0.0, 0.0], (2,))
        # Its own rule makes 0 of 0 times infinity; it is multiplied afterwards.
        return 0 * tf.gradients(tf.sqrt(x), x)[0]

    errors = tf.errors.InvalidArgumentError
    check("on the way forward")(lambda: _message(lambda: run(forward), errors))
    check("on the way back")(lambda: _message(lambda: run(backward), errors))


def theano(check):
    import numpy as np
    import theano
    import theano.tensor as T
    from theano.compile.nanguardmode import NanGuardMode

    def run(build):
        x, zero = T.dvectors("x", "zero")
        mode = NanGuardMode(nan_is_error=True, inf_is_error=False, big_is_error=False)
        value, graph = build(x, zero)
        function = theano.function(
            [x, zero], graph, mode=mode, on_unused_input="ignore"
        )
        function(np.full(3, float(value)), np.zeros(3))

    def forward(x, zero):
        return -1, 2 * T.log(x) + 1

    # The square root's gradient is infinite, and times 0 it is a NaN.
    def backward(x, zero):
        return 0, theano.grad(T.sum(zero * T.sqrt(x)), x)

    errors = AssertionError
    check("on the way forward")(lambda: _message(lambda: run(forward), errors))
    check("on the way back")(lambda: _message(lambda: run(backward), errors))
