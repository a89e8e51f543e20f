"""Symbolic or imperative.

Does Python run what was written at every call, and can it look at a value on the way?
Or does it describe a graph once, which then runs without it? Twice x is asked, for
x = 3 and x = 4.
"""

CHECKS = {
    "imperative: Python runs in each of two calls": 2,
    "imperative: a value is seen on the way": [6.0, 8.0],
    # how often Python ran in the two calls after the graph was there, and their values
    "symbolic: a graph that runs without Python": [0, 6.0, 8.0],
}


def numpy(check):
    import autograd.numpy as anp

    seen = []

    def function(x):
        y = 2 * x
        seen.append(float(y))
        return anp.sum(y)

    function(3.0), function(4.0)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return seen

    @check("symbolic: a graph that runs without Python")
    def graph():
        check.lacks("autograd.jit", "autograd records what Python does, each time anew")


def pytorch(check):
    import torch

    seen = []

    class Double(torch.nn.Module):
        def forward(self, x):
            y = 2 * x
            seen.append(y)
            return y

    double, three, four = Double(), torch.tensor(3.0), torch.tensor(4.0)
    double(three), double(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [y.item() for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        described = torch.export.export(double, (three,)).module()
        before = len(seen)
        answers = [described(three).item(), described(four).item()]
        return [len(seen) - before, *answers]


def jax(check):
    import jax
    import jax.numpy as jnp

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    three, four = jnp.float32(3), jnp.float32(4)
    double(three), double(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        described = jax.jit(double)
        described(three)
        before = len(seen)
        answers = [float(described(three)), float(described(four))]
        return [len(seen) - before, *answers]


def tensorflow(check):
    import tensorflow as tf

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    three, four = tf.constant(3.0), tf.constant(4.0)
    double(three), double(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        described = tf.function(double)
        described(three)
        before = len(seen)
        answers = [float(described(three)), float(described(four))]
        return [len(seen) - before, *answers]


def keras(check):
    import keras
    import numpy as np

    seen = []

    class Double(keras.layers.Layer):
        def call(self, x):
            y = 2 * x
            seen.append(y)
            return y

    model = keras.Sequential([keras.Input((1,)), Double()])
    three, four = np.array([[3.0]]), np.array([[4.0]])
    seen.clear()
    model(three), model(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [float(keras.ops.squeeze(y)) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        model.compile()
        model.predict_on_batch(three)
        before = len(seen)
        answers = [model.predict_on_batch(x).item() for x in (three, four)]
        return [len(seen) - before, *answers]


def paddle(check):
    import paddle

    seen = []

    class Double(paddle.nn.Layer):
        def forward(self, x):
            y = 2 * x
            seen.append(y)
            return y

    double, three, four = Double(), paddle.to_tensor(3.0), paddle.to_tensor(4.0)
    double(three), double(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [y.item() for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        described = paddle.jit.to_static(double, full_graph=True)
        described(three)
        before = len(seen)
        answers = [described(three).item(), described(four).item()]
        return [len(seen) - before] + answers


def mlx(check):
    import mlx.core as mx

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    three, four = mx.array(3.0), mx.array(4.0)
    double(three), double(four)

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [y.item() for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        described = mx.compile(double)
        described(three)
        before = len(seen)
        answers = [described(three).item(), described(four).item()]
        return [len(seen) - before] + answers


def _symbolic(check, library, T):
    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    x = T.scalar("x", dtype="float64")
    described = library.function([x], double(x), mode="FAST_COMPILE")
    before = len(seen)
    answers = [float(described(3.0)), float(described(4.0))]

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen) - before

    # On the way there is a symbol; it has a value where one is asked for by eval().
    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    _symbolic(check, pytensor, T)


def tensorflow1(check):
    import tensorflow as tf

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    x = tf.placeholder(tf.float32, ())
    described = double(x)
    before = len(seen)
    with tf.Session() as session:
        answers = [float(session.run(described, {x: v})) for v in (3.0, 4.0)]

    @check("imperative: Python runs in each of two calls")
    def runs():
        check.note("unless tf.enable_eager_execution() is called at the very start")
        return len(seen) - before

    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def chainer(check):
    import chainer
    import numpy as np

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    for value in (3.0, 4.0):
        double(chainer.Variable(np.array(value)))

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [float(y.array) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        check.note("chainer.static_graph was for GPUs, an experiment")
        check.lacks("chainer.compile", "define by run: the graph is what Python did")


def mxnet(check):
    import mxnet as mx
    from mxnet import nd

    seen = []

    class Double(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            y = 2 * x
            seen.append(y)
            return y

    double, three, four = Double(), nd.array([3.0]), nd.array([4.0])
    double(three), double(four)
    values_seen = [y.asscalar() for y in seen]

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(values_seen)

    @check("imperative: a value is seen on the way")
    def values():
        return values_seen

    @check("symbolic: a graph that runs without Python")
    def graph():
        check.note("hybridize(); a Symbol is one from the start")
        double.hybridize()
        double(three)
        before = len(seen)
        answers = [double(three).asscalar(), double(four).asscalar()]
        return [len(seen) - before] + answers


def dynet(check):
    import dynet as dy

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y.value())
        return y

    for value in (3.0, 4.0):
        dy.renew_cg()
        double(dy.scalarInput(value))

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return seen

    @check("symbolic: a graph that runs without Python")
    def graph():
        dy.renew_cg()
        x = dy.scalarInput(3.0)
        y = double(x)
        before = len(seen)
        answers = []
        for value in (3.0, 4.0):
            x.set(value)
            answers.append(y.scalar_value(recalculate=True))
        return [len(seen) - before] + answers


def keras2_tensorflow(check):
    import keras
    import numpy as np

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    x = keras.layers.Input((1,))
    model = keras.models.Model(x, keras.layers.Lambda(double)(x))
    model.predict_on_batch(np.array([[3.0]]))
    before = len(seen)
    values = (3.0, 4.0)
    answers = [model.predict_on_batch(np.array([[v]])).item() for v in values]

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen) - before

    # What Python sees is a symbol.
    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def on_the_way():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def cntk(check):
    import cntk as C
    import numpy as np

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    x = C.input_variable(())
    described = double(x)
    before = len(seen)
    answers = [float(described.eval({x: np.float32([v])})) for v in (3, 4)]

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen) - before

    # What is seen is a symbol.
    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    seen = []

    def double(net):
        y = net.Scale("x", "y", scale=2.0)
        seen.append(y)
        return y

    net = core.Net("double")
    y = double(net)
    workspace.FeedBlob("x", np.zeros(1, "float32"))
    workspace.CreateNet(net)
    before, answers = len(seen), []
    for value in (3, 4):
        workspace.FeedBlob("x", np.float32([value]))
        workspace.RunNet(net)
        answers.append(float(workspace.FetchBlob(y)[0]))

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen) - before

    # What is seen is the name of a blob.
    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def caffe(check):
    import caffe
    import numpy as np
    from caffe import layers as L

    seen = []

    def double(x):
        y = L.Power(x, scale=2.0)
        seen.append(y)
        return y

    n = caffe.NetSpec()
    n.x = L.Input(shape={"dim": [1, 1]})
    n.y = double(n.x)
    with check.folder() as folder:
        with open(folder + "/net.prototxt", "w") as file:
            file.write(str(n.to_proto()))
        net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
    before = len(seen)
    answers = [
        float(net.forward(x=np.full((1, 1), v, "float32"))["y"][0, 0]) for v in (3, 4)
    ]

    @check("imperative: Python runs in each of two calls")
    def runs():
        return len(seen) - before

    # What is seen is a part of a prototxt.
    @check("imperative: a value is seen on the way", refused_by=(TypeError,))
    def values():
        return [float(y) for y in seen]

    @check("symbolic: a graph that runs without Python")
    def graph():
        return [len(seen) - before] + answers


def tinygrad(check):
    from tinygrad import Tensor, TinyJit

    seen = []

    def double(x):
        y = 2 * x
        seen.append(y)
        return y

    @check("imperative: Python runs in each of two calls")
    def runs():
        for value in (3.0, 4.0):
            double(Tensor(value))
        return len(seen)

    @check("imperative: a value is seen on the way")
    def values():
        return [y.item() for y in seen]

    # The first call runs as it is, the second is recorded; then Python is left out.
    @check("symbolic: a graph that runs without Python")
    def graph():
        compiled = TinyJit(lambda x: double(x).realize())
        for value in (1.0, 2.0):
            compiled(Tensor([value]).contiguous().realize())
        before = len(seen)
        answers = [
            compiled(Tensor([v]).contiguous().realize()).item() for v in (3.0, 4.0)
        ]
        return [len(seen) - before] + answers
