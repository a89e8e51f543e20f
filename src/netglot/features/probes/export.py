"""Export that runs without the model's source.

A trained network, its weights included, is written to a file; another process, which
has none of its code, loads it and runs it, with another number of observations too.
"""

import numpy as np

W = np.array([[1, -2], [0.5, 3], [-1, 0.25]], "float32")
X = np.array([[1, 2, 3], [4, -1, 2]], "float32")
#: Two observations, and one.
CHECKS = {
    "in another process": np.maximum(X @ W, 0),
    "with another size of batch": np.maximum(X[:1] @ W, 0),
}

#: The other process has these; it prints its numbers.
_DATA = """
import sys
import numpy as np
x = np.array([[1, 2, 3], [4, -1, 2]], "float32")
"""


def _loaded(check, path, source, refused_by=()):
    def run(count):
        told = check.python(_DATA + source, path, str(count))
        numbers = [float(number) for number in told.splitlines()[-1].split()]
        return np.array(numbers).reshape(count, 2)

    check("in another process", refused_by)(lambda: run(2))
    check("with another size of batch", refused_by)(lambda: run(1))


def numpy(check):
    check.nothing("a model is a function of Python", "autograd.export")


def pytorch(check):
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.from_numpy(W))

        def forward(self, x):
            return torch.relu(x @ self.w)

    batch = torch.export.Dim("batch")
    exported = torch.export.export(
        Network(), (torch.from_numpy(X),), dynamic_shapes={"x": {0: batch}}
    )
    with check.folder() as folder:
        torch.export.save(exported, folder + "/model.pt2")
        _loaded(
            check,
            folder + "/model.pt2",
            """
import torch
model = torch.export.load(sys.argv[1]).module()
print(*model(torch.from_numpy(x[: int(sys.argv[2])])).flatten().tolist())
""",
        )


def jax(check):
    import jax
    from jax import export

    network = jax.jit(lambda x: jax.nn.relu(x @ W))
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(network)(jax.ShapeDtypeStruct((batch, 3), "float32"))
    with check.folder() as folder:
        try:
            content = exported.serialize()
        except ImportError as error:
            told = "the package flatbuffers: %s" % error
            for name in CHECKS:
                check(name)(lambda: check.not_here(told))
            return
        with open(folder + "/model", "wb") as file:
            file.write(content)
        _loaded(
            check,
            folder + "/model",
            """
from jax import export
with open(sys.argv[1], "rb") as file:
    model = export.deserialize(bytearray(file.read()))
print(*model.call(x[: int(sys.argv[2])]).flatten().tolist())
""",
        )


_SAVED_MODEL = """
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
print(*model.%s(x[: int(sys.argv[2])]).numpy().flatten())
"""


def tensorflow(check):
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self):
            self.w = tf.Variable(W)

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def __call__(self, x):
            return tf.nn.relu(x @ self.w)

    with check.folder() as folder:
        tf.saved_model.save(Network(), folder)
        _loaded(check, folder, _SAVED_MODEL % "__call__")


def _keras_network():
    import keras

    @keras.saving.register_keras_serializable("probe")
    class Relu(keras.layers.Layer):
        def call(self, x):
            return keras.ops.relu(x)

    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, use_bias=False), Relu()]
    )
    model.set_weights([W])
    return model


def keras_tensorflow(check):
    with check.folder() as folder:
        _keras_network().export(folder, verbose=False)
        _loaded(check, folder, _SAVED_MODEL % "serve")


def keras_jax(check):
    with check.folder() as folder:
        try:
            _keras_network().export(folder, verbose=False)
        except ImportError as error:
            # Its export is a SavedModel, by jax2tf.
            told = "the package tensorflow: %s" % str(error).split("\n")[0]
            for name in CHECKS:
                check(name)(lambda: check.not_here(told))
            return
        _loaded(check, folder, _SAVED_MODEL % "serve")


def keras_torch(check):
    with check.folder() as folder:
        path = folder + "/model.pt2"
        import torch

        # Else the sizes of the batch would be that of a sample of one.
        _keras_network().export(
            path,
            format="torch",
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        _loaded(
            check,
            path,
            """
import torch
model = torch.export.load(sys.argv[1]).module()
print(*model(torch.from_numpy(x[: int(sys.argv[2])])).flatten().tolist())
""",
        )


def paddle(check):
    import paddle

    class Network(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.w = self.create_parameter([3, 2])

        def forward(self, x):
            return paddle.nn.functional.relu(x @ self.w)

    model = Network()
    model.w.set_value(W)
    spec = paddle.static.InputSpec([None, 3], name="x")
    with check.folder() as folder:
        paddle.jit.save(model, folder + "/model", input_spec=[spec])
        _loaded(
            check,
            folder + "/model",
            """
import paddle
model = paddle.jit.load(sys.argv[1])
print(*model(paddle.to_tensor(x[: int(sys.argv[2])])).numpy().flatten())
""",
        )


def mxnet(check):
    from mxnet import gluon, nd

    class Network(gluon.HybridBlock):
        def __init__(self):
            super(Network, self).__init__()
            with self.name_scope():
                self.w = self.params.get("w", shape=(3, 2))

        def hybrid_forward(self, F, x, w):
            return F.relu(F.dot(x, w))

    network = Network()
    network.initialize()
    network.w.set_data(nd.array(W))
    network.hybridize()
    network(nd.array(X))
    with check.folder() as folder:
        network.export(folder + "/model")
        _loaded(
            check,
            folder + "/model",
            """
from mxnet import gluon, nd
files = sys.argv[1] + "-symbol.json", ["data"], sys.argv[1] + "-0000.params"
model = gluon.SymbolBlock.imports(*files)
print(*model(nd.array(x[: int(sys.argv[2])])).asnumpy().flatten())
""",
        )


def mlx(check):
    import mlx.core as mx
    from mlx import nn

    weights = mx.array(W)
    with check.folder() as folder:
        path = folder + "/model.mlxfn"
        network = lambda x: nn.relu(x @ weights)  # noqa: E731
        mx.export_function(path, network, mx.array(X), shapeless=True)
        _loaded(
            check,
            path,
            """
import mlx.core as mx
model = mx.import_function(sys.argv[1])
print(*model(mx.array(x[: int(sys.argv[2])]))[0].flatten().tolist())
""",
        )


def chainer(check):
    check.nothing(
        "its own files hold weights; ONNX apart", "chainer.serializers.save_model"
    )


def cntk(check):
    import cntk as C

    x = C.input_variable(3)
    network = C.relu(C.times(x, C.parameter(init=W)))
    with check.folder() as folder:
        network.save(folder + "/network.model")
        _loaded(
            check,
            folder + "/network.model",
            """
import cntk as C
network = C.load_model(sys.argv[1])
print(*network.eval(x[: int(sys.argv[2])]).ravel())
""",
        )


def caffe2(check):
    from caffe2.python import model_helper, workspace
    from caffe2.python.modeling.initializers import Initializer
    from caffe2.python.predictor import mobile_exporter

    workspace.ResetWorkspace()
    model = model_helper.ModelHelper("network")
    w = model.create_param(
        "w", W.shape, initializer=Initializer("GivenTensorFill", values=W)
    )
    model.net.AddExternalInput("x")
    y = model.net.Relu(model.net.MatMul(["x", w], "product"), "y")
    model.net.AddExternalOutput(y)
    workspace.RunNetOnce(model.param_init_net)
    nets = mobile_exporter.Export(workspace, model.net, [w])
    with check.folder() as folder:
        for name, net in zip(("/init.pb", "/predict.pb"), nets):
            with open(folder + name, "wb") as file:
                file.write(net.SerializeToString())
        _loaded(
            check,
            folder,
            """
from caffe2.python import workspace
nets = [open(sys.argv[1] + name, "rb").read() for name in ("/init.pb", "/predict.pb")]
predictor = workspace.Predictor(*nets)
(y,) = predictor.run({"x": x[: int(sys.argv[2])]})
print(*y.ravel())
""",
        )


def caffe(check):
    import caffe
    from caffe import layers as L

    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 3]})
    n.product = L.InnerProduct(n.data, num_output=2, bias_term=False)
    n.y = L.ReLU(n.product)
    with check.folder() as folder:
        with open(folder + "/net.prototxt", "w") as file:
            file.write(str(n.to_proto()))
        net = caffe.Net(folder + "/net.prototxt", caffe.TEST)
        net.params["product"][0].data[...] = W.T
        net.save(folder + "/net.caffemodel")
        _loaded(
            check,
            folder,
            """
import caffe
files = sys.argv[1] + "/net.prototxt", sys.argv[1] + "/net.caffemodel"
net = caffe.Net(files[0], caffe.TEST, weights=files[1])
x = x[: int(sys.argv[2])]
net.blobs["data"].reshape(*x.shape)
print(*net.forward(data=x)["y"].ravel())
""",
        )


def tensorflow1(check):
    import tensorflow as tf

    with check.folder() as folder:
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, (None, 3))
            y = tf.nn.relu(tf.matmul(x, tf.Variable(W)))
            session.run(tf.global_variables_initializer())
            tf.saved_model.simple_save(session, folder + "/model", {"x": x}, {"y": y})
        _loaded(
            check,
            folder + "/model",
            """
import tensorflow as tf
predict = tf.contrib.predictor.from_saved_model(sys.argv[1])
print(*predict({"x": x[: int(sys.argv[2])]})["y"].ravel())
""",
        )
