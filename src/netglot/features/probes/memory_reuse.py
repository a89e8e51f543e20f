"""Reuses memory.

Forty operations one after the other, each result 16 megabytes: how many such arrays
are there at the most? Two are enough (what is read and what is written); it is forty
where nothing is freed.
"""

import re

import numpy as np

ALONE = True
TIMEOUT = 300

SIZE, TIMES = 4000000, 40


def at_most_ten(arrays):
    """Fewer than ten of the forty, beside what an allocator has kept from before."""
    return arrays < 10


CHECKS = {
    "call by call": at_most_ten,
    "in a compiled function": at_most_ten,
}


def _status(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\s+(\d+)", file.read()).group(1)) * 1024


def _trim():
    """Gives back to the system what was freed."""
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)


def _arrays(check, function, *arguments):
    """By how many arrays the process grows while a function runs that ran before."""
    _trim()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except (IOError, OSError):
        check.not_here("a peak of memory that can be set back (/proc/self/clear_refs)")
    before = _status("VmRSS")
    result = function(*arguments)
    grown = _status("VmHWM") - before
    check.note("%.0f megabytes" % (grown / 1e6))
    del result
    return grown / (4.0 * SIZE)


def _chain(tanh, x):
    """A tanh and the distance from the mean, which no compiler puts into one loop."""
    for _ in range(TIMES // 2):
        x = tanh(x)
        x = x - x.mean()
    return x


X = np.linspace(0, 1, SIZE).astype("float32")


def numpy(check):
    @check("call by call")
    def eager():
        return _arrays(check, _chain, np.tanh, X)

    @check("in a compiled function")
    def compiled():
        check.lacks("autograd.jit", "autograd compiles nothing")


def pytorch(check):
    import torch

    x = torch.tensor(X)

    def chain(x):
        for _ in range(TIMES // 2):
            x = torch.tanh(x)
            x = x - x.mean()
        return x

    @check("call by call")
    def eager():
        chain(x[:10])
        return _arrays(check, chain, x)

    @check("in a compiled function")
    def compiled():
        import os

        with check.folder() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
            function = torch.compile(chain)
            function(x)
            return _arrays(check, function, x)


def jax(check):
    import jax
    import jax.numpy as jnp

    x = jnp.array(X)

    def chain(x):
        return _chain(jnp.tanh, x)

    def waited(function):
        return lambda: jax.block_until_ready(function(x))

    @check("call by call")
    def eager():
        jnp.tanh(x) - x.mean()
        return _arrays(check, waited(chain))

    @check("in a compiled function")
    def compiled():
        function = jax.jit(chain).lower(x).compile()
        stats = function.memory_analysis()
        check.note(
            "the compiler plans %.1f arrays" % (stats.temp_size_in_bytes / 4 / SIZE)
        )
        return _arrays(check, waited(function))


def tensorflow(check):
    import tensorflow as tf

    x = tf.constant(X)

    def chain(x):
        for _ in range(TIMES // 2):
            x = tf.tanh(x)
            x = x - tf.reduce_mean(x)
        return x

    @check("call by call")
    def eager():
        chain(x[:10])
        return _arrays(check, chain, x)

    @check("in a compiled function")
    def compiled():
        function = tf.function(chain, input_signature=[tf.TensorSpec([None])])
        function(x[:10])
        return _arrays(check, function, x)


def keras(check):
    import keras
    from keras import ops

    class Chain(keras.layers.Layer):
        def call(self, x):
            for _ in range(TIMES // 2):
                x = ops.tanh(x)
                x = x - ops.mean(x)
            return x

    x = ops.convert_to_tensor(X[None])
    model = keras.Sequential([keras.Input((SIZE,)), Chain()])

    @check("call by call")
    def eager():
        ops.tanh(x) - ops.mean(x)
        return _arrays(
            check, lambda: ops.convert_to_numpy(ops.sum(model(x, training=False)))
        )

    @check("in a compiled function")
    def compiled():
        if keras.backend.backend() == "torch":
            check.no(
                "with this engine a model is compiled only where the user asks for it"
            )
        model.compile()
        model.predict_on_batch(x)
        return _arrays(check, model.predict_on_batch, x)


def paddle(check):
    import paddle

    x = paddle.to_tensor(X)

    def chain(x):
        for _ in range(20):
            x = paddle.tanh(x)
            x = x - x.mean()
        return x

    @check("call by call")
    def eager():
        chain(x[:10])
        return _arrays(check, chain, x)

    @check("in a compiled function")
    def compiled():
        spec = [paddle.static.InputSpec([None], "float32")]
        function = paddle.jit.to_static(chain, spec, full_graph=True)
        with paddle.no_grad():
            function(x[:10])
            return _arrays(check, function, x)


def mlx(check):
    import mlx.core as mx

    x = mx.array(X)

    def chain(x):
        for _ in range(TIMES // 2):
            x = mx.tanh(x)
            x = x - x.mean()
        return x

    def used(function):
        """By the allocator's own count, which keeps what was freed for later."""
        mx.eval(function(x))
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(function(x))
        return (mx.get_peak_memory() - before) / (4.0 * SIZE)

    @check("call by call")
    def eager():
        check.note("lazy: the chain is computed when its end is asked for")
        return used(chain)

    @check("in a compiled function")
    def compiled():
        return used(mx.compile(chain))


def _symbolic(check, library, T):
    @check("call by call")
    def eager():
        check.no(
            "there is nothing but compiled functions: %s" % type(T.vector()).__name__
        )

    @check("in a compiled function")
    def compiled():
        x = T.vector("x", dtype="float32")
        function = library.function([x], _chain(T.tanh, x))
        function(X[:10])
        return _arrays(check, function, X)


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

    @check("call by call")
    def eager():
        check.lacks("tensorflow.eager", "a session runs graphs")

    @check("in a compiled function")
    def compiled():
        x = tf.placeholder(tf.float32, [None])
        y = x
        for _ in range(TIMES // 2):
            y = tf.tanh(y)
            y = y - tf.reduce_mean(y)
        end = tf.reduce_sum(y)
        with tf.Session() as session:
            session.run(end, {x: X[:10]})
            return _arrays(check, lambda: session.run(end, {x: X}))


def chainer(check):
    import chainer
    import chainer.functions as F

    def chain(x):
        with chainer.no_backprop_mode():
            x = chainer.Variable(x)
            for _ in range(TIMES // 2):
                x = F.tanh(x)
                x = x - F.broadcast_to(F.mean(x), x.shape)
            return x

    @check("call by call")
    def eager():
        chain(X[:10])
        return _arrays(check, chain, X)

    @check("in a compiled function")
    def compiled():
        check.lacks("chainer.compile", "Chainer compiles nothing on a processor")


def mxnet(check):
    import mxnet as mx
    from mxnet import nd

    x = nd.array(X)

    def chain(F, x):
        for _ in range(TIMES // 2):
            x = F.tanh(x)
            x = F.broadcast_sub(x, F.mean(x))
        return x

    def run(x):
        chain(nd, x).wait_to_read()

    @check("call by call")
    def eager():
        run(x[:10])
        return _arrays(check, run, x)

    @check("in a compiled function")
    def compiled():
        def bound(x):
            graph = chain(mx.sym, mx.sym.var("x"))
            executor = graph.bind(mx.cpu(), {"x": x}, grad_req="null")
            executor.forward()[0].wait_to_read()

        bound(x[:10])
        return _arrays(check, bound, x)


def cntk(check):
    import cntk as C

    @check("call by call")
    def eager():
        # Each call is a graph of one operation, and gives an array of NumPy's.
        x = C.input_variable(SIZE)
        tanh, centred = C.tanh(x), x - C.reduce_mean(x)

        def chain():
            found = X
            for _ in range(TIMES // 2):
                found = tanh.eval({x: found[None]})[0]
                found = centred.eval({x: found[None]})[0]
            return found

        tanh.eval({x: X[None]})
        centred.eval({x: X[None]})
        return _arrays(check, chain)

    @check("in a compiled function")
    def compiled():
        x = C.input_variable(SIZE)
        y = x
        for _ in range(TIMES // 2):
            y = C.tanh(y)
            y = y - C.reduce_mean(y)
        end = C.reduce_sum(y)
        fed = C.Value(batch=X[None])
        # The memory of a graph is laid out at its first call.
        return _arrays(check, lambda: end.eval({x: fed}))


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    workspace.FeedBlob("x", X)

    def chain(tanh, minus):
        y = "x"
        for _ in range(TIMES // 2):
            y = tanh(y)
            y = minus(y)
        return y

    # Operators run one by one write into blobs of one's choice.
    @check("call by call")
    def eager():
        def run(kind, inputs, output):
            workspace.RunOperatorOnce(core.CreateOperator(kind, inputs, output))
            return output

        def minus(y):
            run("ReduceFrontMean", [y], "mean")
            return run("Sub", [y, "mean"], "b")

        def all_of_it():
            return chain(lambda y: run("Tanh", [y], "a"), minus)

        workspace.FeedBlob("x", X[:10])
        all_of_it()
        workspace.FeedBlob("x", X)
        return _arrays(check, all_of_it)

    @check("in a compiled function")
    def compiled():
        net = core.Net("chain")
        y = chain(
            lambda y: net.Tanh(y, 1),
            lambda y: net.Sub([y, net.ReduceFrontMean(y, 1)], 1),
        )
        try:
            from caffe2.python import memonger
        except ImportError as error:
            if error.name != "networkx":
                raise
            check.not_here("the package networkx, for caffe2.python.memonger")
        shared = memonger.optimize_inference_fast(net.Proto(), ["x", str(y)])
        workspace.FeedBlob("x", X[:10])
        workspace.CreateNet(shared)
        workspace.RunNet(shared.name)
        workspace.FeedBlob("x", X)
        return _arrays(check, lambda: workspace.RunNet(shared.name))
