"""The whole training step compiled.

Forward, gradient and update of the weights in one compiled function: are the weights
after three steps right, and does Python run in none but the first?
"""

import numpy as np

TIMEOUT = 300

X = np.array([[0.3, -0.7], [0.9, 0.2], [-0.4, 1.1], [0.5, 0.6]])
Y = np.array([0.1, -0.3, 0.8, 0.0])
W = np.array([0.7, -0.2])
STEPS, RATE, MOMENTUM = 3, 0.5, 0.9


def _trained():
    """Descent with momentum, of the mean squared error of tanh(x w), by hand."""
    w, velocity = W, np.zeros(2)
    for _ in range(STEPS):
        scores = np.tanh(X @ w)
        gradient = X.T @ (2 * (scores - Y) * (1 - scores**2)) / len(X)
        velocity = MOMENTUM * velocity + gradient
        w = w - RATE * velocity
    return w


CHECKS = {
    "weights after three steps": _trained(),
    "runs of Python in the second and third": 0,
}


def numpy(check):
    check.nothing("autograd compiles nothing", "autograd.jit")


def pytorch(check):
    import torch

    found = []

    def counted(graph, examples):
        # What the backend is handed is all there is: one graph, no Python in between.
        found.append(graph)
        return graph.forward

    def loss(w, x, y):
        return ((torch.tanh(x @ w) - y) ** 2).mean()

    @torch.compile(fullgraph=True, backend=counted)
    def step(w, velocity, x, y):
        velocity = MOMENTUM * velocity + torch.func.grad(loss)(w, x, y)
        return w - RATE * velocity, velocity

    @check("weights after three steps")
    def weights():
        x, y, w = map(torch.tensor, (X, Y, W))
        velocity = torch.zeros_like(w)
        for _ in range(STEPS):
            w, velocity = step(w, velocity, x, y)
        return w

    @check("runs of Python in the second and third")
    def runs():
        check.note("torch.compile, fullgraph=True, with torch.func.grad inside")
        return len(found) - 1


def jax(check):
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.sgd(RATE, momentum=MOMENTUM)
    runs = []

    def loss(w, x, y):
        runs.append(1)
        return jnp.mean((jnp.tanh(x @ w) - y) ** 2)

    @jax.jit
    def step(w, state, x, y):
        updates, state = optimizer.update(jax.grad(loss)(w, x, y), state)
        return optax.apply_updates(w, updates), state

    @check("weights after three steps")
    def weights():
        w = jnp.array(W)
        state = optimizer.init(w)
        for _ in range(STEPS):
            w, state = step(w, state, X, Y)
        return w

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


def tensorflow(check):
    import tensorflow as tf

    w = tf.Variable(W)
    optimizer = tf.keras.optimizers.SGD(RATE, MOMENTUM)
    optimizer.build([w])
    runs = []

    @tf.function(jit_compile=True)
    def step(x, y):
        runs.append(1)
        with tf.GradientTape() as tape:
            scores = tf.tanh(tf.linalg.matvec(x, w))
            loss = tf.reduce_mean((scores - y) ** 2)
        optimizer.apply(tape.gradient(loss, [w]), [w])

    @check("weights after three steps")
    def weights():
        for _ in range(STEPS):
            step(X, Y)
        return w

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - step.experimental_get_tracing_count()


def keras(check):
    import keras
    from keras import ops

    runs = []

    def loss(y, scores):
        runs.append(1)
        return ops.mean((scores - y) ** 2)

    layer = keras.layers.Dense(1, activation="tanh", use_bias=False)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(RATE, MOMENTUM), loss)
    model.set_weights([W[:, None]])

    @check("weights after three steps")
    def weights():
        model.train_on_batch(X, Y[:, None])
        del runs[:]
        for _ in range(STEPS - 1):
            model.train_on_batch(X, Y[:, None])
        return model.get_weights()[0][:, 0]

    @check("runs of Python in the second and third")
    def later():
        return len(runs)


def paddle(check):
    import paddle

    found = []

    # The static graph has the update of the weights in it; jit.to_static has not.
    def program():
        x = paddle.static.data("x", X.shape, "float64")
        y = paddle.static.data("y", Y.shape, "float64")
        start = paddle.nn.initializer.Assign(W)
        w = paddle.create_parameter([2], "float64", default_initializer=start)
        found.append(w)
        loss = ((paddle.tanh(paddle.matmul(x, w)) - y) ** 2).mean()
        paddle.optimizer.Momentum(RATE, MOMENTUM).minimize(loss)
        return w, loss

    @check("weights after three steps")
    def weights():
        paddle.enable_static()
        try:
            main, startup = paddle.static.Program(), paddle.static.Program()
            with paddle.static.program_guard(main, startup):
                w, loss = program()
            executor = paddle.static.Executor(paddle.CPUPlace())
            executor.run(startup)
            for _ in range(STEPS):
                executor.run(main, feed={"x": X, "y": Y}, fetch_list=[loss])
            scope = paddle.static.global_scope()
            return np.array(scope.find_var(w.name).get_tensor())
        finally:
            paddle.disable_static()

    @check("runs of Python in the second and third")
    def later():
        return len(found) - 1


def mlx(check):
    from functools import partial

    import mlx.core as mx
    import mlx.nn as nn
    from mlx import optimizers

    model = nn.Linear(2, 1, bias=False)
    model.weight = mx.array(W[None])
    optimizer = optimizers.SGD(RATE, momentum=MOMENTUM)
    state, runs = [model.state, optimizer.state], []

    def loss(x, y):
        runs.append(1)
        return mx.mean((mx.tanh(model(x))[:, 0] - y) ** 2)

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x, y):
        value, gradients = nn.value_and_grad(model, loss)(x, y)
        optimizer.update(model, gradients)
        return value

    x, y = mx.array(X), mx.array(Y)

    @check("weights after three steps")
    def weights():
        optimizer.init(model.trainable_parameters())
        for _ in range(STEPS):
            mx.eval(step(x, y), state)
        return np.array(model.weight)[0]

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


def _symbolic(check, library, T):
    w, velocity = library.shared(W), library.shared(np.zeros(2))
    x, y = T.matrix("x", dtype="float64"), T.vector("y", dtype="float64")
    runs = []

    def step():
        runs.append(1)
        loss = T.mean((T.tanh(T.dot(x, w)) - y) ** 2)
        moved = MOMENTUM * velocity + library.grad(loss, w)
        updates = [(velocity, moved), (w, w - RATE * moved)]
        return library.function([x, y], loss, updates=updates)

    @check("weights after three steps")
    def weights():
        train = step()
        for _ in range(STEPS):
            train(X, Y)
        return w.get_value()

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


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

    runs = []

    def step(w):
        runs.append(1)
        loss = tf.reduce_mean((tf.tanh(tf.reduce_sum(X * w, 1)) - Y) ** 2)
        optimizer = tf.train.MomentumOptimizer(RATE, MOMENTUM)
        return optimizer.minimize(loss, var_list=[w])

    @check("weights after three steps")
    def weights():
        w = tf.Variable(W)
        train = step(w)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(STEPS):
                session.run(train)
            return session.run(w)

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


def chainer(check):
    check.nothing("Chainer compiles nothing on a processor", "chainer.compile")


def mxnet(check):
    import mxnet as mx
    from mxnet import nd

    runs = []

    def symbols():
        runs.append(1)
        x, w, y = mx.sym.var("x"), mx.sym.var("w"), mx.sym.var("y")
        scores = mx.sym.tanh(mx.sym.sum(mx.sym.broadcast_mul(x, w), axis=1))
        return mx.sym.mean(mx.sym.square(scores - y))

    @check("weights after three steps")
    def weights():
        check.fallback("forward and gradient are a graph, the update a call beside it")
        w, gradient = nd.array(W[None]), nd.zeros((1, 2))
        executor = symbols().bind(
            mx.cpu(),
            {"x": nd.array(X), "w": w, "y": nd.array(Y)},
            args_grad={"w": gradient},
        )
        optimizer = mx.optimizer.SGD(learning_rate=RATE, momentum=MOMENTUM)
        state = optimizer.create_state(0, w)
        for _ in range(STEPS):
            executor.forward(is_train=True)
            executor.backward(nd.ones((1,)))
            optimizer.update(0, w, gradient, state)
        return w.asnumpy()[0]

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


def dynet(check):
    check.nothing("DyNet compiles nothing", "dynet.compile")


def keras2_tensorflow(check):
    import keras
    from keras import backend as K

    runs = []

    def loss(y, scores):
        runs.append(1)
        return K.mean(K.square(scores - y), axis=-1)

    layer = keras.layers.Dense(1, activation="tanh", use_bias=False, input_shape=(2,))
    model = keras.models.Sequential([layer])
    model.compile(keras.optimizers.SGD(RATE, MOMENTUM), loss)
    model.set_weights([W[:, None]])

    @check("weights after three steps")
    def weights():
        model.train_on_batch(X, Y[:, None])
        del runs[:]
        for _ in range(STEPS - 1):
            model.train_on_batch(X, Y[:, None])
        return model.get_weights()[0][:, 0]

    @check("runs of Python in the second and third")
    def later():
        return len(runs)


def cntk(check):
    import cntk as C

    runs = []
    x, y = C.input_variable(2, dtype=np.float64), C.input_variable((), dtype=np.float64)

    def trainer_of(w):
        runs.append(1)
        scores = C.tanh(C.reduce_sum(x * w))
        learner = C.momentum_sgd(
            [w], RATE, MOMENTUM, unit_gain=False, minibatch_size=len(X)
        )
        return C.Trainer(scores, C.square(scores - y), [learner])

    @check("weights after three steps")
    def weights():
        w = C.parameter(init=W, dtype=np.float64)
        trainer = trainer_of(w)
        for _ in range(STEPS):
            trainer.train_minibatch({x: X, y: Y})
        return w.value

    @check("runs of Python in the second and third")
    def later():
        return len(runs) - 1


def caffe2(check):
    from caffe2.python import model_helper, optimizer, workspace

    runs = []

    def step():
        runs.append(1)
        model = model_helper.ModelHelper("model")
        w = model.create_param(
            "w",
            W.shape,
            initializer=_given(W),
        )
        products = model.net.ReduceBackSum(model.net.Mul(["x", w], 1, broadcast=1), 1)
        errors = model.net.Sub([model.net.Tanh(products, 1), "y"], 1)
        loss = model.net.AveragedLoss(model.net.Sqr(errors, 1), "loss")
        model.AddGradientOperators([loss])
        optimizer.build_sgd(model, RATE, policy="fixed", momentum=MOMENTUM, nesterov=0)
        return model

    def _given(values):
        from caffe2.python.modeling.initializers import Initializer

        return Initializer("GivenTensorFill", values=values.astype("float32"))

    @check("weights after three steps")
    def weights():
        workspace.ResetWorkspace()
        workspace.FeedBlob("x", X.astype("float32"))
        workspace.FeedBlob("y", Y.astype("float32"))
        model = step()
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net)
        for _ in range(STEPS):
            workspace.RunNet(model.net)
        return workspace.FetchBlob("w")

    check("runs of Python in the second and third")(lambda: len(runs) - 1)
