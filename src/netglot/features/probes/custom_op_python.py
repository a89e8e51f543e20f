"""A new operation in Python.

Swish, whose value and gradient are computed by code that the framework does not see
into (NumPy): does it become an operation like others, with a gradient, in a network?
"""

import _swish
import numpy as np
from _swish import IMAGES, LABELS, POINTS, W1, W2, X, Y

CHECKS = _swish.CHECKS
TIMEOUT = 300
# MXNet alone heeds it. Its engine of several threads lets an operation in Python read
# what a convolution of oneDNN has not written yet: weights that change from run to run.
VARIABLES = {"MXNET_ENGINE_TYPE": "NaiveEngine"}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad
    from autograd.extend import defvjp, primitive

    @primitive
    def swish(x):
        return x * _swish.sigmoid(x)

    defvjp(swish, lambda answer, x: lambda upstream: upstream * _swish.slope(x))

    @check("its value")
    def value():
        return swish(POINTS)

    @check("its gradient")
    def gradient():
        return grad(lambda x: anp.sum(swish(x)))(POINTS)

    @check("a network with it, trained a step")
    def trained():
        def loss(weights):
            w1, w2 = weights
            return anp.mean((anp.dot(swish(anp.dot(X, w1)), w2) - Y) ** 2)

        gradients = grad(loss)([W1, W2])
        stepped = [w - 0.1 * g for w, g in zip((W1, W2), gradients)]
        return np.concatenate([w.ravel() for w in stepped])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, _swish.numpy, swish, lambda x: x / (1 + anp.exp(-x)))


def pytorch(check):
    import torch

    @torch.library.custom_op("netglot_probe::swish", mutates_args=())
    def swish(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.numpy() * _swish.sigmoid(x.numpy()))

    @torch.library.custom_op("netglot_probe::swish_slope", mutates_args=())
    def swish_slope(x: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(upstream.numpy() * _swish.slope(x.numpy()))

    @swish.register_fake
    def shape(x):
        return torch.empty_like(x)

    def backward(ctx, upstream):
        return swish_slope(ctx.saved_tensors[0], upstream.contiguous())

    def keep(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    swish.register_autograd(backward, setup_context=keep)

    @check("its value")
    def value():
        return swish(torch.tensor(POINTS))

    @check("its gradient")
    def gradient():
        x = torch.tensor(POINTS, requires_grad=True)
        swish(x).sum().backward()
        return x.grad

    @check("a network with it, trained a step")
    def trained():
        x, y = torch.tensor(X), torch.tensor(Y)
        w1, w2 = (torch.nn.Parameter(torch.tensor(w)) for w in (W1, W2))
        optimizer = torch.optim.SGD([w1, w2], lr=0.1)
        torch.nn.functional.mse_loss(swish(x @ w1) @ w2, y).backward()
        optimizer.step()
        return torch.cat([w1.flatten(), w2.flatten()]).detach()

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.pytorch, swish, lambda x: x * torch.sigmoid(x)
        )


def jax(check):
    import jax
    import jax.numpy as jnp

    def on_the_host(function, x):
        return jax.pure_callback(
            lambda x: function(np.asarray(x)).astype(x.dtype),
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            x,
            vmap_method="broadcast_all",
        )

    @jax.custom_vjp
    def swish(x):
        return on_the_host(lambda x: x * _swish.sigmoid(x), x)

    def forward(x):
        return swish(x), x

    def backward(x, upstream):
        return (upstream * on_the_host(_swish.slope, x),)

    swish.defvjp(forward, backward)

    @check("its value")
    def value():
        return jax.jit(swish)(jnp.array(POINTS))

    @check("its gradient")
    def gradient():
        return jax.jit(jax.grad(lambda x: jnp.sum(swish(x))))(jnp.array(POINTS))

    @check("a network with it, trained a step")
    def trained():
        @jax.jit
        def step(w1, w2):
            def loss(w1, w2):
                return jnp.mean((swish(X @ w1) @ w2 - Y) ** 2)

            by_w1, by_w2 = jax.grad(loss, (0, 1))(w1, w2)
            return w1 - 0.1 * by_w1, w2 - 0.1 * by_w2

        return jnp.concatenate([w.ravel() for w in step(W1, W2)])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, _swish.jax, swish, lambda x: x * jax.nn.sigmoid(x))


def tensorflow(check):
    import tensorflow as tf

    def on_the_host(function, x):
        y = tf.numpy_function(function, [x], x.dtype)
        y.set_shape(x.shape)
        return y

    @tf.custom_gradient
    def swish(x):
        def gradient(upstream):
            return upstream * on_the_host(_swish.slope, x)

        return on_the_host(lambda x: x * _swish.sigmoid(x), x), gradient

    @check("its value")
    def value():
        return tf.function(swish)(tf.constant(POINTS))

    @check("its gradient")
    def gradient():
        x = tf.Variable(POINTS)
        with tf.GradientTape() as tape:
            y = swish(x)
        return tape.gradient(y, x)

    @check("a network with it, trained a step")
    def trained():
        weights = [tf.Variable(W1), tf.Variable(W2)]

        @tf.function
        def step():
            w1, w2 = weights
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((swish(X @ w1) @ w2 - Y) ** 2)
            for w, gradient in zip(weights, tape.gradient(loss, weights)):
                w.assign_sub(0.1 * gradient)

        step()
        return tf.concat([tf.reshape(w, [-1]) for w in weights], 0)

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.tensorflow, swish, lambda x: x * tf.sigmoid(x)
        )


def keras(check):
    import keras
    from keras import ops

    @ops.custom_gradient
    def swish(x):
        s = ops.sigmoid(x)

        def gradient(*args, upstream=None):
            (upstream,) = args if upstream is None else (upstream,)
            return upstream * (s + x * s * (1 - s))

        return x * s, gradient

    class Swish(keras.Operation):
        def call(self, x):
            return swish(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    def functional():
        """An operation of one's own works on the symbols of a functional model too."""
        x = keras.Input((2,))
        hidden = Swish()(keras.layers.Dense(3, use_bias=False)(x))
        model = keras.Model(x, keras.layers.Dense(1, use_bias=False)(hidden))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.set_weights([W1, W2])
        return model

    @check("its value")
    def value():
        check.note(
            "composed of keras.ops; what they cannot say is the engine's business"
        )
        return ops.convert_to_numpy(Swish()(ops.convert_to_tensor(POINTS, "float32")))

    # One step of descent of a weight that is x itself takes its gradient off.
    @check("its gradient")
    def gradient():
        one = keras.Input((1,))
        start = keras.layers.Dense(4, use_bias=False)
        model = keras.Model(one, Swish()(start(one)))
        model.compile(keras.optimizers.SGD(1.0), lambda y, scores: ops.sum(scores))
        start.set_weights([POINTS[None]])
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 4)))
        return POINTS - start.get_weights()[0][0]

    @check("a network with it, trained a step")
    def trained():
        model = functional()
        model.train_on_batch(X, Y)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    def network(activation):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation=activation),
                layers.Conv2D(64, 3, activation=activation),
                *(layers.MaxPooling2D(), layers.Flatten()),
                *(layers.Dense(128, activation=activation), layers.Dense(10)),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.02), loss)
        return lambda: model.train_on_batch(IMAGES, LABELS), model.get_weights

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, network, Swish(), lambda x: x * ops.sigmoid(x))


def paddle(check):
    import paddle

    class Swish(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return paddle.to_tensor(x.numpy() * _swish.sigmoid(x.numpy()))

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensor()
            return paddle.to_tensor(upstream.numpy() * _swish.slope(x.numpy()))

    swish = Swish.apply

    @check("its value")
    def value():
        return swish(paddle.to_tensor(POINTS)).numpy()

    @check("its gradient")
    def gradient():
        x = paddle.to_tensor(POINTS, stop_gradient=False)
        swish(x).sum().backward()
        return x.grad.numpy()

    @check("a network with it, trained a step")
    def trained():
        x, y = paddle.to_tensor(X), paddle.to_tensor(Y)
        weights = [paddle.create_parameter(w.shape, "float64") for w in (W1, W2)]
        for parameter, w in zip(weights, (W1, W2)):
            parameter.set_value(w)
        optimizer = paddle.optimizer.SGD(0.1, weights)
        w1, w2 = weights
        paddle.nn.functional.mse_loss(swish(x @ w1) @ w2, y).backward()
        optimizer.step()
        return np.concatenate([w.numpy().ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        composed = paddle.nn.functional.sigmoid
        return _swish.alike(check, _swish.paddle, swish, lambda x: x * composed(x))


def mlx(check):
    import mlx.core as mx

    # Arrays are computed when NumPy asks for them: not inside mx.compile.
    @mx.custom_function
    def swish(x):
        x = np.array(mx.stop_gradient(x))
        return mx.array(x * _swish.sigmoid(x))

    @swish.vjp
    def backward(x, upstream, output):
        return upstream * mx.array(_swish.slope(np.array(x)))

    @check("its value")
    def value():
        return np.array(swish(mx.array(POINTS)))

    @check("its gradient", refused_by=(ValueError, RuntimeError))
    def gradient():
        return np.array(mx.grad(lambda x: mx.sum(swish(x)))(mx.array(POINTS)))

    @check("a network with it, trained a step", refused_by=(ValueError, RuntimeError))
    def trained():
        x, y = mx.array(X), mx.array(Y)

        def loss(w1, w2):
            return mx.mean((swish(x @ w1) @ w2 - y) ** 2)

        w1, w2 = mx.array(W1), mx.array(W2)
        by_w1, by_w2 = mx.grad(loss, (0, 1))(w1, w2)
        stepped = w1 - 0.1 * by_w1, w2 - 0.1 * by_w2
        return np.concatenate([np.array(w).ravel() for w in stepped])

    def network(activation):
        from mlx import nn, optimizers

        mx.random.seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 32, 3), activation, nn.Conv2d(32, 64, 3), activation),
            *(nn.MaxPool2d(2), lambda x: x.reshape(-1, 9216)),
            *(nn.Linear(9216, 128), activation, nn.Linear(128, 10)),
        )
        mx.eval(model.parameters())
        optimizer = optimizers.SGD(0.02)
        x, y = mx.array(IMAGES), mx.array(LABELS)

        def loss(model):
            return nn.losses.cross_entropy(model(x), y, reduction="mean")

        def step():
            _, gradients = nn.value_and_grad(model, loss)(model)
            optimizer.update(model, gradients)
            mx.eval(model.parameters())

        layers = [layer for layer in model.layers if isinstance(layer, nn.Module)]
        weighted = [layer for layer in layers if "weight" in layer]
        return step, lambda: [layer.weight for layer in weighted]

    @check(
        "in mnist-cnn, trained like the composed form",
        refused_by=(ValueError, RuntimeError),
    )
    def in_mnist_cnn():
        return _swish.alike(check, network, swish, lambda x: x * mx.sigmoid(x))


def _symbolic(check, library, T, swish, conv2d, sigmoid):
    x = T.vector("x", dtype="float64")

    @check("its value")
    def value():
        return library.function([x], swish(x), mode="FAST_COMPILE")(POINTS)

    @check("its gradient")
    def gradient():
        slope = library.grad(T.sum(swish(x)), x)
        return library.function([x], slope, mode="FAST_COMPILE")(POINTS)

    @check("a network with it, trained a step")
    def trained():
        weights = [library.shared(w) for w in (W1, W2)]
        scores = T.dot(swish(T.dot(X, weights[0])), weights[1])
        gradients = library.grad(T.mean((scores - Y) ** 2), weights)
        updates = [(w, w - 0.1 * g) for w, g in zip(weights, gradients)]
        library.function([], [], updates=updates, mode="FAST_COMPILE")()
        return np.concatenate([w.get_value().ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.symbolic(library, T, conv2d), swish, lambda x: x * sigmoid(x)
        )


def theano(check):
    import theano
    import theano.tensor as T

    class Slope(theano.Op):
        __props__ = ()

        def make_node(self, x):
            x = T.as_tensor_variable(x)
            return theano.Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            outputs[0][0] = _swish.slope(inputs[0])

    class Swish(theano.Op):
        __props__ = ()

        def make_node(self, x):
            x = T.as_tensor_variable(x)
            return theano.Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            outputs[0][0] = inputs[0] * _swish.sigmoid(inputs[0])

        def grad(self, inputs, upstream):
            return [upstream[0] * Slope()(inputs[0])]

    conv2d = theano.tensor.nnet.conv2d
    _symbolic(check, theano, T, Swish(), conv2d, T.nnet.sigmoid)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T
    from pytensor.graph import Apply, Op

    class Slope(Op):
        __props__ = ()

        def make_node(self, x):
            x = T.as_tensor_variable(x)
            return Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            outputs[0][0] = _swish.slope(inputs[0])

    class Swish(Op):
        __props__ = ()

        def make_node(self, x):
            x = T.as_tensor_variable(x)
            return Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            outputs[0][0] = inputs[0] * _swish.sigmoid(inputs[0])

        def pullback(self, inputs, outputs, upstream):
            return [upstream[0] * Slope()(inputs[0])]

    def conv2d(x, w):
        """What each place of the kernel sees, added up: PyTensor 3 has no layer."""
        size = x.shape[2] - 2
        seen = [
            T.tensordot(
                x[:, :, a : a + size, b : b + size], w[:, :, a, b], axes=[[1], [1]]
            )
            for a in range(3)
            for b in range(3)
        ]
        return T.add(*seen).transpose(0, 3, 1, 2)

    _symbolic(check, pytensor, T, Swish(), conv2d, T.sigmoid)


def tensorflow1(check):
    import tensorflow as tf

    def on_the_host(function, x):
        y = tf.py_func(function, [x], x.dtype, stateful=False)
        y.set_shape(x.shape)
        return y

    @tf.custom_gradient
    def swish(x):
        def gradient(upstream):
            return upstream * on_the_host(_swish.slope, x)

        return on_the_host(lambda x: x * _swish.sigmoid(x), x), gradient

    @check("its value")
    def value():
        with tf.Session() as session:
            return session.run(swish(tf.constant(POINTS)))

    def run(graph, step=None):
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            if step is not None:
                session.run(step)
            return session.run(graph)

    @check("its gradient")
    def gradient():
        x = tf.constant(POINTS)
        return run(tf.gradients(swish(x), x)[0])

    @check("a network with it, trained a step")
    def trained():
        weights = [tf.Variable(w) for w in (W1, W2)]
        hidden = swish(tf.matmul(tf.constant(X), weights[0]))
        scores = tf.matmul(hidden, weights[1])
        loss = tf.reduce_mean((scores - tf.constant(Y)) ** 2)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=weights)
        return run(tf.concat([tf.reshape(w, [-1]) for w in weights], 0), step)

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.tensorflow1, swish, lambda x: x * tf.sigmoid(x)
        )


def chainer(check):
    import chainer
    import chainer.functions as F

    class Swish(chainer.FunctionNode):
        def forward(self, inputs):
            self.retain_inputs((0,))
            return (inputs[0] * _swish.sigmoid(inputs[0]),)

        def backward(self, indexes, upstream):
            (x,) = self.get_retained_inputs()
            return (upstream[0] * _swish.slope(x.array),)

    def swish(x):
        return Swish().apply((x,))[0]

    @check("its value")
    def value():
        return swish(chainer.Variable(POINTS)).array

    @check("its gradient")
    def gradient():
        x = chainer.Variable(POINTS)
        F.sum(swish(x)).backward()
        return x.grad

    @check("a network with it, trained a step")
    def trained():
        class Network(chainer.Link):
            def __init__(self):
                super().__init__()
                with self.init_scope():
                    self.w1, self.w2 = chainer.Parameter(W1), chainer.Parameter(W2)

        network = Network()
        optimizer = chainer.optimizers.SGD(0.1).setup(network)
        scores = F.matmul(swish(F.matmul(X, network.w1)), network.w2)
        F.mean_squared_error(scores, Y).backward()
        optimizer.update()
        weights = network.w1.array, network.w2.array
        return np.concatenate([w.ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, _swish.chainer, swish, lambda x: x * F.sigmoid(x))


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    class Swish(mx.operator.CustomOp):
        def forward(self, is_train, req, in_data, out_data, aux):
            x = in_data[0].asnumpy()
            self.assign(out_data[0], req[0], nd.array(x * _swish.sigmoid(x)))

        def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
            slope = out_grad[0].asnumpy() * _swish.slope(in_data[0].asnumpy())
            self.assign(in_grad[0], req[0], nd.array(slope))

    @mx.operator.register("netglot_swish_python")
    class SwishProperties(mx.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return Swish()

    def swish(x):
        return nd.Custom(x, op_type="netglot_swish_python")

    @check("its value")
    def value():
        return swish(nd.array(POINTS)).asnumpy()

    @check("its gradient")
    def gradient():
        x = nd.array(POINTS)
        x.attach_grad()
        with autograd.record():
            y = swish(x)
        y.backward()
        return x.grad.asnumpy()

    # The same operation in a graph of symbols, which Module trains.
    @check("a network with it, trained a step")
    def trained():
        x, y = mx.sym.var("x"), mx.sym.var("y")
        hidden = mx.sym.FullyConnected(x, num_hidden=3, no_bias=True, name="first")
        hidden = mx.sym.Custom(hidden, op_type="netglot_swish_python")
        scores = mx.sym.FullyConnected(
            hidden, num_hidden=1, no_bias=True, name="second"
        )
        loss = mx.sym.MakeLoss(mx.sym.square(scores - y))
        module = mx.mod.Module(loss, data_names=["x"], label_names=["y"])
        module.bind([("x", X.shape)], [("y", Y.shape)])
        weights = {"first_weight": nd.array(W1.T), "second_weight": nd.array(W2.T)}
        module.init_params(arg_params=weights)
        module.init_optimizer(
            optimizer="sgd",
            optimizer_params={"learning_rate": 0.1, "rescale_grad": 1 / len(X)},
        )
        module.forward_backward(mx.io.DataBatch([nd.array(X)], [nd.array(Y)]))
        module.update()
        weights, _ = module.get_params()
        names = "first_weight", "second_weight"
        return np.concatenate([weights[n].asnumpy().T.ravel() for n in names])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        check.note("MXNET_ENGINE_TYPE=NaiveEngine: with threads it was not repeatable")
        return _swish.alike(check, _swish.mxnet, swish, lambda x: x * nd.sigmoid(x))


def dynet(check):
    check.nothing("DyNet's nodes are C++; none is written in Python", "dynet.Node")


def cntk(check):
    import cntk as C
    from cntk.ops.functions import UserFunction

    class Swish(UserFunction):
        def infer_outputs(self):
            x = self.inputs[0]
            return [C.output_variable(x.shape, x.dtype, x.dynamic_axes)]

        def forward(self, x, device=None, outputs_to_retain=None):
            return x, x * _swish.sigmoid(x)

        def backward(self, x, upstream):
            return upstream * _swish.slope(x)

    def swish(x):
        return C.user_function(Swish([x]))

    _cntk(check, C, swish)


def _cntk(check, C, swish):
    x = C.input_variable(4, needs_gradient=True)
    points = {x: POINTS[None].astype("float32")}

    @check("its value")
    def value():
        return swish(x).eval(points)[0]

    @check("its gradient")
    def gradient():
        return swish(x).grad(points, wrt=[x])[0]

    @check("a network with it, trained a step")
    def trained():
        x, y = C.input_variable(2), C.input_variable(1)
        weights = [C.parameter(init=w.astype("float32")) for w in (W1, W2)]
        scores = C.times(swish(C.times(x, weights[0])), weights[1])
        learner = C.sgd(weights, 0.1, minibatch_size=C.learners.IGNORE)
        trainer = C.Trainer(scores, C.squared_error(scores, y), [learner])
        trainer.train_minibatch({x: X.astype("float32"), y: Y.astype("float32")})
        return np.concatenate([w.value.ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, _swish.cntk, swish, lambda x: x * C.sigmoid(x))


def caffe2(check):
    from caffe2.python import brew, core, model_helper, optimizer, workspace

    def forward(inputs, outputs):
        x = inputs[0].data
        outputs[0].feed(x * _swish.sigmoid(x))

    # The gradient gets inputs, outputs and the gradients of the outputs.
    def backward(inputs, outputs):
        x, _, upstream = (blob.data for blob in inputs)
        outputs[0].feed(upstream * _swish.slope(x))

    def swish(net, x, name):
        return net.Python(forward, backward)([x], [name])

    def composed(net, x, name):
        return net.Mul([x, net.Sigmoid(x, name + "_sigmoid")], name)

    def points():
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", POINTS.astype("float32"))
        net = core.Net("points")
        return net, swish(net, "x", "y")

    @check("its value")
    def value():
        net, y = points()
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(y)

    @check("its gradient")
    def gradient():
        net, y = points()
        gradients = net.AddGradientOperators([net.SumElements(y, "total")])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(gradients["x"])

    @check("a network with it, trained a step")
    def trained():
        workspace.ResetWorkspace()
        net = core.Net("trained")
        for name, array in (("x", X), ("y", Y), ("w1", W1), ("w2", W2)):
            workspace.FeedBlob(name, array.astype("float32"))
        workspace.FeedBlob("one", np.ones(1, "float32"))
        workspace.FeedBlob("rate", np.float32([-0.1]))
        hidden = swish(net, net.MatMul(["x", "w1"], "product"), "hidden")
        errors = net.Sub([net.MatMul([hidden, "w2"], "scores"), "y"], "errors")
        loss = net.AveragedLoss(net.Sqr(errors, "squares"), "loss")
        gradients = net.AddGradientOperators([loss])
        for w in ("w1", "w2"):
            net.WeightedSum([w, "one", gradients[w], "rate"], w)
        workspace.RunNetOnce(net)
        return np.concatenate([w.ravel() for w in workspace.FetchBlobs(["w1", "w2"])])

    def network(activation):
        # Two networks in one workspace: the names of each begin with its own.
        scope = activation.__name__
        with core.NameScope(scope):
            model = model_helper.ModelHelper(scope)
            x = brew.conv(model, "images", "conv1", 1, 32, kernel=3)
            x = brew.conv(
                model, activation(model.net, x, "act1"), "conv2", 32, 64, kernel=3
            )
            x = activation(model.net, x, "act2")
            x = brew.max_pool(model, x, "pool", kernel=2, stride=2)
            x = brew.fc(model, model.net.Flatten(x, "flat"), "fc1", 9216, 128)
            x = brew.fc(model, activation(model.net, x, "act3"), "fc2", 128, 10)
            _, loss = model.net.SoftmaxWithLoss([x, "labels"], ["softmax", "loss"])
            model.AddGradientOperators([loss])
            optimizer.build_sgd(model, 0.02, policy="fixed")
        for op in model.param_init_net.Proto().op:
            op.device_option.random_seed = 1
        workspace.FeedBlob(scope + "/images", images)
        workspace.FeedBlob(scope + "/labels", LABELS.astype("int32"))
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net)
        weights = [str(p) for p in model.GetParams()]
        return (
            lambda: workspace.RunNet(model.net),
            lambda: workspace.FetchBlobs(weights),
        )

    images = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        workspace.ResetWorkspace()
        return _swish.alike(check, network, swish, composed)
