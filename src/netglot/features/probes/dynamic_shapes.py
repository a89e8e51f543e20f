"""Dynamic shapes.

One compiled function, batches of 2, 3 and 5 observations: is one compilation enough,
and does the function know the size of the batch that it gets?
"""

import numpy as np

BATCHES = [np.arange(4.0 * n).reshape(n, 4) / 10 for n in (2, 3, 5)]


def _right(x):
    """The sum of the rows' tanh, times the number of rows."""
    return np.tanh(x).sum(0) * len(x)


CHECKS = {
    "values of three sizes, one function": np.stack([_right(x) for x in BATCHES]),
    "compilations for the three": 1,
}


def numpy(check):
    check.nothing("autograd compiles nothing: any size, each time anew", "autograd.jit")


def pytorch(check):
    import torch

    compilations = []

    def counted(graph, examples):
        compilations.append(1)
        return graph.forward

    @torch.compile(dynamic=True, backend=counted)
    def function(x):
        return torch.tanh(x).sum(0) * len(x)

    @check("values of three sizes, one function")
    def values():
        return torch.stack([function(torch.tensor(x)) for x in BATCHES])

    @check("compilations for the three")
    def count():
        check.note("dynamic=True; untold it compiles twice: once as seen, then for any")
        return len(compilations)


def jax(check):
    import jax
    import jax.numpy as jnp

    @jax.jit
    def function(x):
        return jnp.tanh(x).sum(0) * len(x)

    @check("values of three sizes, one function")
    def values():
        return [function(x) for x in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("one for each shape; jax.export alone has symbols for sizes")
        return function._cache_size()


def tensorflow(check):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float64)])
    def function(x):
        rows = tf.cast(tf.shape(x)[0], x.dtype)
        return tf.reduce_sum(tf.tanh(x), 0) * rows

    @check("values of three sizes, one function")
    def values():
        return [function(x) for x in BATCHES]

    @check("compilations for the three")
    def count():
        return function.experimental_get_tracing_count()


def keras(check):
    import keras
    from keras import ops

    runs = []

    class Function(keras.layers.Layer):
        def call(self, x):
            runs.append(1)
            rows = ops.cast(ops.shape(x)[0], x.dtype)
            return ops.zeros_like(x) + ops.sum(ops.tanh(x), 0) * rows

    model = keras.Sequential([keras.Input((4,)), Function()])
    model.compile(run_eagerly=False)
    runs.clear()

    @check("values of three sizes, one function")
    def values():
        return [model.predict_on_batch(x)[0] for x in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("runs of the layer's Python for the three batches")
        return len(runs)


def keras_torch(check):
    import keras
    from keras import ops

    class Function(keras.layers.Layer):
        def call(self, x):
            return ops.zeros_like(x) + ops.sum(ops.tanh(x), 0) * ops.shape(x)[0]

    model = keras.Sequential([keras.Input((4,)), Function()])
    model.compile()

    @check("values of three sizes, one function")
    def values():
        check.fallback("call by call: nothing is compiled unless the user asks for it")
        return [model.predict_on_batch(x)[0] for x in BATCHES]

    @check("compilations for the three")
    def count():
        check.no("nothing is compiled: jit_compile is %s" % model.jit_compile)


def paddle(check):
    import paddle

    @paddle.jit.to_static(
        input_spec=[paddle.static.InputSpec([None, 4], "float64")], full_graph=True
    )
    def function(x):
        return paddle.tanh(x).sum(0) * x.shape[0]

    @check("values of three sizes, one function")
    def values():
        return [function(paddle.to_tensor(x)).numpy() for x in BATCHES]

    @check("compilations for the three")
    def count():
        return len(function.program_cache)


def mlx(check):
    from functools import partial

    import mlx.core as mx

    runs = []

    @partial(mx.compile, shapeless=True)
    def function(x):
        runs.append(1)
        rows = mx.sum(mx.ones_like(x)) / 4
        return mx.sum(mx.tanh(x), axis=0) * rows

    @check("values of three sizes, one function")
    def values():
        return [np.array(function(mx.array(x))) for x in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("shapeless=True: Python's len(x) would be that of the first batch")
        return len(runs)


def _symbolic(check, library, T):
    x = T.matrix("x", dtype="float64")
    found = []

    def compiled(*arguments):
        found.append(library.function(*arguments, mode="FAST_COMPILE"))
        return found[-1]

    function = compiled([x], T.tanh(x).sum(0) * x.shape[0])

    @check("values of three sizes, one function")
    def values():
        return [function(x) for x in BATCHES]

    @check("compilations for the three")
    def count():
        return len(found)


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

    found = []

    def compiled():
        found.append(1)
        x = tf.placeholder(tf.float64, [None, 4])
        return x, tf.reduce_sum(tf.tanh(x), 0) * tf.cast(tf.shape(x)[0], x.dtype)

    x, y = compiled()

    @check("values of three sizes, one function")
    def values():
        with tf.Session() as session:
            return [session.run(y, {x: batch}) for batch in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("graphs: a session interprets one for any shape")
        return len(found)


def chainer(check):
    check.nothing(
        "Chainer compiles nothing: any size, each time anew", "chainer.compile"
    )


def mxnet(check):
    import mxnet as mx
    from mxnet import nd

    runs = []

    class Function(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            runs.append(1)
            rows = F.sum(F.ones_like(F.slice_axis(x, axis=1, begin=0, end=1)))
            return F.broadcast_mul(F.sum(F.tanh(x), axis=0), rows)

    function = Function()
    function.hybridize()

    @check("values of three sizes, one function")
    def values():
        return [function(nd.array(x)).asnumpy() for x in BATCHES]

    @check("compilations for the three")
    def count():
        return len(runs)


def dynet(check):
    check.nothing("DyNet compiles nothing: a new graph each time", "dynet.compile")


def keras2_tensorflow(check):
    import keras
    from keras import backend as K

    runs = []

    def function(x):
        runs.append(1)
        rows = K.sum(K.ones_like(x[:, :1]))
        return 0 * x + K.sum(K.tanh(x), axis=0, keepdims=True) * rows

    x = keras.layers.Input((4,))
    model = keras.models.Model(x, keras.layers.Lambda(function, output_shape=(4,))(x))
    made = len(runs)

    @check("values of three sizes, one function")
    def values():
        return [model.predict_on_batch(x)[0] for x in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("runs of the Python that makes the graph")
        return 1 + len(runs) - made


def cntk(check):
    import cntk as C

    found = []

    def compiled():
        found.append(1)
        x = C.input_variable(4, dtype=np.float64)
        batch = C.Axis.default_batch_axis()
        count = C.reduce_sum(C.ones_like(x), axis=batch)
        return x, C.reduce_sum(C.tanh(x), axis=batch) * count

    x, y = compiled()

    @check("values of three sizes, one function")
    def values():
        return [np.reshape(y.eval({x: batch}), 4) for batch in BATCHES]

    @check("compilations for the three")
    def count():
        check.note("graphs: the batch is an axis that no shape mentions")
        return len(found)


def caffe2(check):
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    compiled = []
    net = core.Net("function")
    total = net.ReduceFrontSum(net.Tanh("x", 1), 1, num_reduce_dim=1)
    rows = net.Slice([net.Shape("x", 1)], 1, starts=[0], ends=[1])
    y = net.Mul([total, net.Cast(rows, 1, to=core.DataType.FLOAT)], 1, broadcast=1)
    workspace.FeedBlob("x", BATCHES[0].astype("float32"))
    compiled.append(workspace.CreateNet(net))

    @check("values of three sizes, one function")
    def values():
        found = []
        for batch in BATCHES:
            workspace.FeedBlob("x", batch.astype("float32"))
            workspace.RunNet(net)
            found.append(workspace.FetchBlob(y))
        return found

    check("compilations for the three")(lambda: len(compiled))


def caffe(check):
    import caffe
    from caffe import layers as L

    built = []
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 4]})
    n.tanh = L.TanH(n.data)
    with check.folder() as folder:
        with open(folder + "/net.prototxt", "w") as file:
            file.write(str(n.to_proto()))
        net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
    built.append(net)

    # Its layers work on each observation: none adds up over the batch.
    @check("values of three sizes, one function")
    def values():
        check.fallback("summed over the batch by NumPy")
        found = []
        for batch in BATCHES:
            net.blobs["data"].reshape(*batch.shape)
            tanh = net.forward(data=batch.astype("float32"))["tanh"]
            found.append(tanh.sum(0) * len(batch))
        return found

    check("compilations for the three")(lambda: len(built))
