"""Control flow that depends on data.

May a Python ``if`` look at a computed value? May a loop run until a value says stop,
inside a compiled function, and is there a gradient through it?
"""

CHECKS = {
    # Twice x where that is positive, else twice its cube; the other way: 16 and -4.
    "an if that looks at a value": [4.0, -16.0],
    "a compiled if": [4.0, -16.0],
    # Doubled until it exceeds 100: 3 -> 192 in six turns, 30 -> 120 in two.
    "a compiled loop of unknown length": [192.0, 120.0],
    "its gradient": [64.0, 4.0],
}


def numpy(check):
    from autograd import grad

    def flipped(x):
        return 2 * x if x > 0 else 2 * x * x * x

    def doubled(x):
        while x < 100:
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        return [flipped(2.0), flipped(-2.0)]

    @check("a compiled if")
    def compiled():
        check.lacks("autograd.jit", "autograd runs Python and compiles nothing")

    @check("a compiled loop of unknown length")
    def loop():
        check.lacks("autograd.jit", "autograd runs Python and compiles nothing")

    @check("its gradient")
    def gradient():
        check.fallback("through the loop in Python, not compiled")
        return [grad(doubled)(3.0), grad(doubled)(30.0)]


def pytorch(check):
    import torch

    def flipped(x):
        return 2 * x if x > 0 else 2 * x**3

    @check("an if that looks at a value")
    def branch():
        return [flipped(torch.tensor(v)).item() for v in (2.0, -2.0)]

    @torch.compile(backend="eager", fullgraph=True)
    def chosen(x):
        return torch.cond(x > 0, lambda x: 2 * x, lambda x: 2 * x**3, (x,))

    @check("a compiled if")
    def compiled():
        return [chosen(torch.tensor(v)).item() for v in (2.0, -2.0)]

    @torch.jit.script
    def doubled(x: torch.Tensor) -> torch.Tensor:
        while bool(x < 100):
            x = 2 * x
        return x

    @check("a compiled loop of unknown length")
    def loop():
        return [doubled(torch.tensor(v)).item() for v in (3.0, 30.0)]

    @check("its gradient")
    def gradient():
        found = []
        for value in (3.0, 30.0):
            x = torch.tensor(value, requires_grad=True)
            doubled(x).backward()
            found.append(x.grad.item())
        return found


def jax(check):
    import jax
    from jax import lax

    @check("an if that looks at a value")
    def branch():
        return [
            float(2 * x if x > 0 else 2 * x**3) for x in map(jax.numpy.float32, (2, -2))
        ]

    @jax.jit
    def chosen(x):
        return lax.cond(x > 0, lambda x: 2 * x, lambda x: 2 * x**3, x)

    @check("a compiled if")
    def compiled():
        return [float(chosen(2.0)), float(chosen(-2.0))]

    @jax.jit
    def doubled(x):
        return lax.while_loop(lambda x: x < 100, lambda x: 2 * x, x)

    @check("a compiled loop of unknown length")
    def loop():
        return [float(doubled(3.0)), float(doubled(30.0))]

    # Forward mode goes through while_loop; reverse mode would have to keep every turn.
    @check("its gradient")
    def gradient():
        try:
            jax.grad(doubled)(3.0)
        except ValueError as error:
            check.note("jax.grad refuses: %s" % str(error).splitlines()[0])
        check.note("jax.jacfwd does it")
        return [float(jax.jacfwd(doubled)(v)) for v in (3.0, 30.0)]


def tensorflow(check):
    import tensorflow as tf

    def flipped(x):
        return 2 * x if x > 0 else 2 * x**3

    @check("an if that looks at a value")
    def branch():
        return [float(flipped(tf.constant(v))) for v in (2.0, -2.0)]

    compiled_flipped = tf.function(flipped)

    @check("a compiled if")
    def compiled():
        return [float(compiled_flipped(tf.constant(v))) for v in (2.0, -2.0)]

    @tf.function
    def doubled(x):
        while x < 100:
            x = 2 * x
        return x

    @check("a compiled loop of unknown length")
    def loop():
        return [float(doubled(tf.constant(v))) for v in (3.0, 30.0)]

    @check("its gradient")
    def gradient():
        found = []
        for value in (3.0, 30.0):
            x = tf.constant(value)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = doubled(x)
            found.append(float(tape.gradient(y, x)))
        return found


def keras(check):
    import keras
    import numpy as np
    from keras import ops

    def flipped(x):
        return 2 * x if x > 0 else 2 * x**3

    @check("an if that looks at a value")
    def branch():
        return [float(flipped(ops.convert_to_tensor(v))) for v in (2.0, -2.0)]

    class Flipped(keras.layers.Layer):
        def call(self, x):
            return ops.cond(ops.sum(x) > 0, lambda: 2 * x, lambda: 2 * x**3)

    # What Keras compiles is a model.
    @check("a compiled if")
    def compiled():
        model = keras.Sequential([keras.Input((1,)), Flipped()])
        model.compile()
        return [model.predict_on_batch(np.array([[v]])).item() for v in (2.0, -2.0)]

    def doubled(x):
        return ops.while_loop(lambda x: ops.sum(x) < 100, lambda x: (2 * x,), (x,))[0]

    class Doubled(keras.layers.Layer):
        def call(self, x):
            return doubled(x)

        def compute_output_shape(self, shape):
            return shape

    @check("a compiled loop of unknown length")
    def loop():
        model = keras.Sequential([keras.Input((1,)), Doubled()])
        model.compile()
        return [model.predict_on_batch(np.array([[v]])).item() for v in (3.0, 30.0)]

    class Start(keras.layers.Layer):
        """A weight; what a step of descent takes off it is the gradient."""

        def __init__(self, value):
            super().__init__()
            self.value = value

        def build(self, shape):
            start = keras.initializers.Constant(self.value)
            self.x = self.add_weight(shape=(1,), initializer=start)

        def call(self, inputs):
            return doubled(ops.convert_to_tensor(self.x)) + 0 * inputs

        def compute_output_shape(self, shape):
            return shape

    refusals = (ValueError,) if keras.backend.backend() == "jax" else ()

    @check("its gradient", refused_by=refusals)
    def gradient():
        found = []
        for value in (3.0, 30.0):
            model = keras.Sequential([keras.Input((1,)), Start(value)])
            model.compile(keras.optimizers.SGD(1.0), lambda y, scores: ops.sum(scores))
            model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
            found.append(value - model.get_weights()[0].item())
        return found


def paddle(check):
    import paddle

    def flipped(x):
        if x > 0:
            return 2 * x
        return 2 * x**3

    def doubled(x):
        while x < 100:
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        return [flipped(paddle.to_tensor(v)).item() for v in (2.0, -2.0)]

    @check("a compiled if")
    def compiled():
        function = paddle.jit.to_static(flipped, full_graph=True)
        return [function(paddle.to_tensor(v)).item() for v in (2.0, -2.0)]

    looped = paddle.jit.to_static(doubled, full_graph=True)

    @check("a compiled loop of unknown length")
    def loop():
        return [looped(paddle.to_tensor(v)).item() for v in (3.0, 30.0)]

    # "The variable middle_0 should exist": its own graph of the way back is not whole.
    @check("its gradient", refused_by=(ValueError,))
    def gradient():
        found = []
        for value in (3.0, 30.0):
            x = paddle.to_tensor(value, stop_gradient=False)
            looped(x).backward()
            found.append(x.grad.item())
        return found


def mlx(check):
    import mlx.core as mx

    def flipped(x):
        return 2 * x if x > 0 else 2 * x**3

    def doubled(x):
        while x < 100:
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        return [flipped(mx.array(v)).item() for v in (2.0, -2.0)]

    # A compiled function is traced: there is nothing to look at.
    @check("a compiled if", refused_by=(ValueError, RuntimeError))
    def compiled():
        function = mx.compile(flipped)
        return [function(mx.array(v)).item() for v in (2.0, -2.0)]

    @check("a compiled loop of unknown length", refused_by=(ValueError, RuntimeError))
    def loop():
        function = mx.compile(doubled)
        return [function(mx.array(v)).item() for v in (3.0, 30.0)]

    @check("its gradient")
    def gradient():
        check.fallback("through the loop in Python, not compiled")
        return [mx.grad(doubled)(mx.array(v)).item() for v in (3.0, 30.0)]


def _symbolic(check, library, T, ifelse, loop_of):
    x = T.scalar("x", dtype="float64")

    # A symbol has no value: Python's if has nothing to look at.
    @check("an if that looks at a value", refused_by=(TypeError,))
    def branch():
        y = T.scalar("y", dtype="float64")
        return 2 * y if y > 0 else 2 * y**3

    @check("a compiled if")
    def compiled():
        chosen = ifelse(T.gt(x, 0), 2 * x, 2 * x**3)
        function = library.function([x], chosen, mode="FAST_COMPILE")
        return [float(function(v)) for v in (2.0, -2.0)]

    doubled, updates = loop_of(x)

    @check("a compiled loop of unknown length")
    def loop():
        function = library.function([x], doubled, updates=updates, mode="FAST_COMPILE")
        return [float(function(v)) for v in (3.0, 30.0)]

    @check("its gradient")
    def gradient():
        slope = library.grad(doubled, x)
        function = library.function([x], slope, updates=updates, mode="FAST_COMPILE")
        return [float(function(v)) for v in (3.0, 30.0)]


def theano(check):
    import theano
    import theano.tensor as T
    from theano.ifelse import ifelse
    from theano.scan_module import until

    def loop_of(x):
        def turn(value):
            return 2 * value, until(2 * value >= 100)

        values, updates = theano.scan(turn, outputs_info=x, n_steps=1000)
        return values[-1], updates

    _symbolic(check, theano, T, ifelse, loop_of)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.ifelse import ifelse
    from pytensor.scan.utils import until

    def loop_of(x):
        def turn(value):
            return 2 * value, until(2 * value >= 100)

        values = pytensor.scan(turn, outputs_info=x, n_steps=1000, return_updates=False)
        return values[-1], []

    _symbolic(check, pytensor, T, ifelse, loop_of)


def tensorflow1(check):
    import tensorflow as tf

    # A symbol has no value: Python's if has nothing to look at.
    @check("an if that looks at a value", refused_by=(TypeError,))
    def branch():
        x = tf.placeholder(tf.float32, ())
        return 2 * x if x > 0 else 2 * x**3

    x = tf.placeholder(tf.float32, ())

    def run(graph, values):
        with tf.Session() as session:
            return [float(session.run(graph, {x: v})) for v in values]

    @check("a compiled if")
    def compiled():
        return run(tf.cond(x > 0, lambda: 2 * x, lambda: 2 * x**3), (2.0, -2.0))

    doubled = tf.while_loop(lambda x: x < 100, lambda x: 2 * x, [x])

    @check("a compiled loop of unknown length")
    def loop():
        return run(doubled, (3.0, 30.0))

    @check("its gradient")
    def gradient():
        return run(tf.gradients(doubled, x)[0], (3.0, 30.0))


def chainer(check):
    import chainer
    import numpy as np

    def flipped(x):
        return 2 * x if x.array > 0 else 2 * x**3

    def doubled(x):
        while x.array < 100:
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        return [
            float(flipped(chainer.Variable(np.array(v))).array) for v in (2.0, -2.0)
        ]

    @check("a compiled if")
    def compiled():
        check.lacks("chainer.compile", "define by run: the graph is what Python did")

    @check("a compiled loop of unknown length")
    def loop():
        check.lacks("chainer.compile", "define by run: the graph is what Python did")

    @check("its gradient")
    def gradient():
        check.fallback("through the loop in Python, not compiled")
        found = []
        for value in (3.0, 30.0):
            x = chainer.Variable(np.array(value))
            doubled(x).backward()
            found.append(float(x.grad))
        return found


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    def flipped(x):
        return 2 * x if x > 0 else 2 * x**3

    @check("an if that looks at a value")
    def branch():
        return [flipped(nd.array([v])).asscalar() for v in (2.0, -2.0)]

    class Flipped(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.contrib.cond(x > 0, lambda: 2 * x, lambda: 2 * x**3)

    @check("a compiled if")
    def compiled():
        block = Flipped()
        block.hybridize()
        return [block(nd.array([v])).asscalar() for v in (2.0, -2.0)]

    class Doubled(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            _, last = F.contrib.while_loop(
                lambda x: x < 100, lambda x: ([], [2 * x]), [x], max_iterations=100
            )
            return last[0]

    def doubled(x):
        block = Doubled()
        block.hybridize()
        return block(x)

    @check("a compiled loop of unknown length")
    def loop():
        return [doubled(nd.array([v])).asscalar() for v in (3.0, 30.0)]

    # Hybridized, it refuses to be recorded: the loop is then run call by call.
    @check("its gradient")
    def gradient():
        check.fallback("nd.contrib.while_loop, not compiled")
        found = []
        for value in (3.0, 30.0):
            x = nd.array([value])
            x.attach_grad()
            with autograd.record():
                y = Doubled()(x)
            y.backward()
            found.append(x.grad.asscalar())
        return found


def dynet(check):
    import dynet as dy
    import numpy as np

    def flipped(x):
        return 2 * x if x.value() > 0 else 2 * x * x * x

    def doubled(x):
        while x.value() < 100:
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        dy.renew_cg()
        return [flipped(dy.scalarInput(v)).value() for v in (2.0, -2.0)]

    @check("a compiled if")
    def compiled():
        check.lacks("dynet.compile", "the graph is what Python did")

    @check("a compiled loop of unknown length")
    def loop():
        check.lacks("dynet.compile", "the graph is what Python did")

    @check("its gradient")
    def gradient():
        check.fallback("through the loop in Python, not compiled")
        found = []
        for value in (3.0, 30.0):
            dy.renew_cg()
            collection = dy.ParameterCollection()
            x = collection.parameters_from_numpy(np.array([value]))
            doubled(x[0]).backward()
            found.append(x.grad_as_array()[0])
        return found


def keras2_tensorflow(check):
    import keras
    import numpy as np
    from keras import backend as K

    # A symbol has no value: Python's if has nothing to look at.
    @check("an if that looks at a value", refused_by=(TypeError,))
    def branch():
        x = K.placeholder((1,))
        y = 2 * x if x > 0 else 2 * x**3
        return [K.function([x], [y])([np.array([v])])[0].item() for v in (2.0, -2.0)]

    @check("a compiled if")
    def compiled():
        x = keras.layers.Input((1,))

        def flipped(x):
            return K.switch(x > 0, 2 * x, 2 * x**3)

        model = keras.models.Model(
            x, keras.layers.Lambda(flipped, output_shape=(1,))(x)
        )
        return [model.predict_on_batch(np.array([[v]])).item() for v in (2.0, -2.0)]

    @check("a compiled loop of unknown length")
    def loop():
        check.lacks("keras.backend.while_loop", "K.rnn and K.foldl have known lengths")

    @check("its gradient")
    def gradient():
        check.lacks("keras.backend.while_loop", "K.rnn and K.foldl have known lengths")


def cntk(check):
    import cntk as C
    import numpy as np

    # A symbol has no value: Python's if has nothing to look at.
    @check("an if that looks at a value", refused_by=(TypeError,))
    def branch():
        x = C.input_variable(())
        return 2 * x if x > 0 else 2 * x * x * x

    @check("a compiled if")
    def compiled():
        check.note("element_select computes both branches")
        x = C.input_variable(())
        chosen = C.element_select(C.greater(x, 0), 2 * x, 2 * x * x * x)
        return [float(chosen.eval({x: np.float32([v])})) for v in (2, -2)]

    # UnfoldFrom makes a sequence step by step until a value says stop.
    def doubled(start):
        generator = C.layers.UnfoldFrom(
            lambda x: 2 * x,
            until_predicate=lambda x: C.greater_equal(x, 100),
            length_increase=20,
        )
        axis = C.sequence.input_variable(())
        return axis, C.sequence.last(
            generator(start, C.sequence.broadcast_as(start, axis))
        )

    @check("a compiled loop of unknown length")
    def loop():
        start = C.input_variable(())
        axis, end = doubled(start)
        feed = [np.zeros((20,), "float32")]
        return [float(end.eval({start: np.float32([v]), axis: feed})) for v in (3, 30)]

    @check("its gradient")
    def gradient():
        start = C.input_variable((), needs_gradient=True)
        axis, end = doubled(start)
        feed = [np.zeros((20,), "float32")]
        return [
            float(end.grad({start: np.float32([v]), axis: feed}, wrt=[start]))
            for v in (3, 30)
        ]


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace
    from caffe2.python.net_builder import NetBuilder, ops

    # A blob is a name: Python's if takes that for true.
    @check("an if that looks at a value")
    def branch():
        found = []
        for value in (2.0, -2.0):
            net = core.Net("branch")
            workspace.FeedBlob("x", np.float32([value]))
            workspace.FeedBlob("zero", np.zeros(1, "float32"))
            if net.GT(["x", "zero"], "positive"):
                y = net.Scale("x", "y", scale=2.0)
            else:
                y = net.Scale(net.Cube("x", "cube"), "y", scale=2.0)
            workspace.RunNetOnce(net)
            found.append(float(workspace.FetchBlob(y)[0]))
        return found

    @check("a compiled if")
    def compiled():
        found = []
        for value in (2.0, -2.0):
            workspace.ResetWorkspace()
            with NetBuilder(_use_control_ops=True) as builder:
                x = ops.Const(value)
                y = ops.Const(0.0, blob_out="y")
                with ops.IfNet(ops.GT([x, ops.Const(0.0)])):
                    ops.Scale(x, y, scale=2.0)
                with ops.Else():
                    ops.Scale(ops.Cube(x), y, scale=2.0)
            net = builder.get()[0]
            workspace.RunNetOnce(net)
            found.append(float(workspace.FetchBlob("y")))
        return found

    def doubled(value, differentiated=False):
        workspace.ResetWorkspace()
        with NetBuilder(_use_control_ops=True) as builder:
            ops.Const(value, blob_out="start")
            ops.Copy("start", "y")
            with ops.WhileNet():
                with ops.Condition():
                    ops.LT(["y", ops.Const(100.0)])
                ops.Scale("y", "y", scale=2.0)
        net = builder.get()[0]
        if differentiated:
            workspace.RunNetOnce(net)
            gradients = net.AddGradientOperators(["y"])
            workspace.RunNetOnce(net)
            return float(workspace.FetchBlob(gradients["start"]))
        workspace.RunNetOnce(net)
        return float(workspace.FetchBlob("y"))

    @check("a compiled loop of unknown length")
    def loop():
        return [doubled(3.0), doubled(30.0)]

    @check("its gradient")
    def gradient():
        return [doubled(3.0, True), doubled(30.0, True)]


def tinygrad(check):
    from tinygrad import Tensor, TinyJit, dtypes
    from tinygrad.engine.jit import JitError

    def flipped(x):
        return 2 * x if (x > 0).item() else 2 * x**3

    def doubled(x):
        while (x < 100).item():
            x = 2 * x
        return x

    @check("an if that looks at a value")
    def branch():
        return [flipped(Tensor(v)).item() for v in (2.0, -2.0)]

    def jitted(function, first, values):
        """What comes of values after two calls with the first, which are recorded."""

        def fed(value):
            return Tensor([value]).contiguous().realize()

        compiled = TinyJit(lambda x: function(x).realize())
        for _ in range(2):
            compiled(fed(first))
        return [compiled(fed(value)).item() for value in values]

    # What is recorded are kernels: there is no looking at a value.
    @check("a compiled if", refused_by=(JitError,))
    def compiled():
        return jitted(flipped, 2.0, (2.0, -2.0))

    @check("a compiled loop of unknown length", refused_by=(JitError,))
    def loop():
        return jitted(doubled, 3.0, (3.0, 30.0))

    @check("its gradient")
    def gradient():
        check.fallback("through the loop in Python, not compiled")
        found = []
        for value in (3.0, 30.0):
            x = Tensor(value, dtype=dtypes.float32)
            found.append(doubled(x).gradient(x)[0].item())
        return found
