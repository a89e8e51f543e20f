"""Optimizers.

Ten steps of each from the same start, against the formulas in NumPy. The loss is half
the sum of A (w - T)^2, whose gradient is A (w - T).
"""

import numpy as np

START = np.array([1.0, -2.0, 0.5], "float32")
A = np.array([1.0, 0.5, 4.0], "float32")
T = np.array([0.25, 1.0, -1.0], "float32")
RATE = 0.05


def _walk(step):
    w, state = START.astype("float64"), [np.zeros(3), np.zeros(3)]
    for turn in range(1, 11):
        w = w - step(A * (w - T), state, turn, w)
    return w


def _momentum(g, state, turn, w, nesterov=False):
    state[0] = 0.9 * state[0] + g
    return RATE * (g + 0.9 * state[0] if nesterov else state[0])


def _rmsprop(g, state, turn, w):
    state[0] = 0.9 * state[0] + 0.1 * g**2
    return RATE * g / (np.sqrt(state[0]) + 1e-8)


def _adagrad(g, state, turn, w):
    state[0] = state[0] + g**2
    return RATE * g / (np.sqrt(state[0]) + 1e-8)


def _adam(g, state, turn, w, decay=0.0):
    state[0] = 0.9 * state[0] + 0.1 * g
    state[1] = 0.999 * state[1] + 0.001 * g**2
    mean, square = state[0] / (1 - 0.9**turn), state[1] / (1 - 0.999**turn)
    return RATE * (mean / (np.sqrt(square) + 1e-8) + decay * w)


def _near(right):
    """Within 0.00002, as some count the powers of Adam's factors in float32."""

    def judge(found):
        found = np.asarray(found)
        return found.shape == right.shape and np.abs(found - right).max() < 2e-5

    judge.__doc__ = "%s within 0.00002" % right.round(6).tolist()
    return judge


CHECKS = {
    "SGD with momentum": _walk(_momentum),
    "Nesterov's momentum": _walk(lambda *now: _momentum(*now, nesterov=True)),
    "RMSprop": _walk(_rmsprop),
    "Adagrad": _walk(_adagrad),
    "Adam": _near(_walk(_adam)),
    # The decay of 0.1 is taken from the weights, not added to the gradient.
    "AdamW": _near(_walk(lambda *now: _adam(*now, decay=0.1))),
}


def numpy(check):
    from autograd import grad
    from autograd.misc import optimizers

    gradient = grad(lambda w, turn: 0.5 * (A * (w - T) ** 2).sum())
    start = START.astype("float64")

    # Its momentum is that of a mean: 0.1 of each gradient.
    @check("SGD with momentum")
    def momentum():
        return optimizers.sgd(gradient, start, None, 10, step_size=RATE / 0.1, mass=0.9)

    @check("RMSprop")
    def rmsprop():
        check.note("starts from a mean square of 1 and not of 0")
        return optimizers.rmsprop(gradient, start, None, 10, RATE, gamma=0.9)

    @check("Adam")
    def adam():
        return optimizers.adam(gradient, start, None, 10, step_size=RATE)

    for name, attribute in (
        ("Nesterov's momentum", "nesterov"),
        ("Adagrad", "adagrad"),
        ("AdamW", "adamw"),
    ):

        @check(name)
        def lacking():
            check.lacks(
                "autograd.misc.optimizers." + attribute,
                "autograd has sgd, rmsprop and adam",
            )


def pytorch(check):
    import torch
    from torch import optim

    def walk(kind, **options):
        w = torch.nn.Parameter(torch.from_numpy(START.copy()))
        optimizer = kind([w], lr=RATE, **options)
        for _ in range(10):
            optimizer.zero_grad()
            (
                0.5 * (torch.from_numpy(A) * (w - torch.from_numpy(T)) ** 2).sum()
            ).backward()
            optimizer.step()
        return w.detach().numpy()

    check("SGD with momentum")(lambda: walk(optim.SGD, momentum=0.9))
    check("Nesterov's momentum")(lambda: walk(optim.SGD, momentum=0.9, nesterov=True))
    check("RMSprop")(lambda: walk(optim.RMSprop, alpha=0.9))
    check("Adagrad")(lambda: walk(optim.Adagrad, eps=1e-8))
    check("Adam")(lambda: walk(optim.Adam))
    check("AdamW")(lambda: walk(optim.AdamW, weight_decay=0.1))


def jax(check):
    import jax
    import jax.numpy as jnp
    import optax

    gradient = jax.jit(jax.grad(lambda w: 0.5 * jnp.sum(A * (w - T) ** 2)))

    def walk(tx):
        w = jnp.asarray(START)
        state = tx.init(w)
        for _ in range(10):
            updates, state = tx.update(gradient(w), state, w)
            w = optax.apply_updates(w, updates)
        return w

    check("SGD with momentum")(lambda: walk(optax.sgd(RATE, 0.9)))
    check("Nesterov's momentum")(lambda: walk(optax.sgd(RATE, 0.9, nesterov=True)))
    check("RMSprop")(lambda: walk(optax.rmsprop(RATE)))
    check("Adagrad")(
        lambda: walk(optax.adagrad(RATE, initial_accumulator_value=0.0, eps=1e-8))
    )
    check("Adam")(lambda: walk(optax.adam(RATE)))
    check("AdamW")(lambda: walk(optax.adamw(RATE, weight_decay=0.1)))


def tensorflow(check):
    import tensorflow as tf

    def walk(optimizer):
        w = tf.Variable(START)
        for _ in range(10):
            with tf.GradientTape() as tape:
                loss = 0.5 * tf.reduce_sum(A * (w - T) ** 2)
            optimizer.apply_gradients([(tape.gradient(loss, w), w)])
        return w.numpy()

    _with_keras(check, tf.keras.optimizers, walk)


def keras(check):
    import keras

    # The loss as that of a layer whose one weight is the output for an input of 1.
    def walk(optimizer):
        model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(3, use_bias=False)]
        )
        model.set_weights([START[None]])
        model.compile(
            optimizer,
            loss=lambda true, found: (
                0.5 * keras.ops.sum(keras.ops.multiply((found - true) ** 2, A))
            ),
            jit_compile=False,
        )
        for _ in range(10):
            model.train_on_batch(np.ones((1, 1)), T[None])
        return model.get_weights()[0][0]

    _with_keras(check, keras.optimizers, walk)


def _with_keras(check, optimizers, walk):
    check("SGD with momentum")(lambda: walk(optimizers.SGD(RATE, momentum=0.9)))
    check("Nesterov's momentum")(
        lambda: walk(optimizers.SGD(RATE, momentum=0.9, nesterov=True))
    )
    check("RMSprop")(lambda: walk(optimizers.RMSprop(RATE, rho=0.9, epsilon=1e-8)))
    check("Adagrad")(
        lambda: walk(
            optimizers.Adagrad(RATE, initial_accumulator_value=0.0, epsilon=1e-8)
        )
    )
    check("Adam")(lambda: walk(optimizers.Adam(RATE, epsilon=1e-8)))
    check("AdamW")(lambda: walk(optimizers.AdamW(RATE, weight_decay=0.1, epsilon=1e-8)))


def paddle(check):
    import paddle
    from paddle import optimizer as optim

    def walk(kind, **options):
        w = paddle.create_parameter([3], "float32")
        w.set_value(START)
        optimizer = kind(RATE, parameters=[w], **options)
        for _ in range(10):
            error = w - paddle.to_tensor(T)
            (0.5 * (paddle.to_tensor(A) * error**2).sum()).backward()
            optimizer.step()
            optimizer.clear_grad()
        return w.numpy()

    check("SGD with momentum")(lambda: walk(optim.Momentum, momentum=0.9))
    check("Nesterov's momentum")(
        lambda: walk(optim.Momentum, momentum=0.9, use_nesterov=True)
    )
    check("RMSprop")(lambda: walk(optim.RMSProp, rho=0.9, epsilon=1e-8))
    check("Adagrad")(lambda: walk(optim.Adagrad, epsilon=1e-8))
    check("Adam")(lambda: walk(optim.Adam))
    check("AdamW")(lambda: walk(optim.AdamW, weight_decay=0.1))


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    def walk(name, **options):
        w = nd.array(START)
        w.attach_grad()
        update = mx.optimizer.get_updater(
            mx.optimizer.create(name, learning_rate=RATE, wd=0, **options)
        )
        for _ in range(10):
            with autograd.record():
                loss = 0.5 * (nd.array(A) * (w - nd.array(T)) ** 2).sum()
            loss.backward()
            update(0, w.grad, w)
        return w.asnumpy()

    check("SGD with momentum")(lambda: walk("sgd", momentum=0.9))
    check("Nesterov's momentum")(lambda: walk("nag", momentum=0.9))
    check("RMSprop")(lambda: walk("rmsprop", gamma1=0.9, epsilon=1e-8))
    check("Adagrad")(lambda: walk("adagrad", eps=1e-8))
    check("Adam")(lambda: walk("adam"))

    @check("AdamW")
    def adamw():
        check.lacks("mxnet.optimizer.AdamW", "MXNet 1 has it in contrib only, unnamed")


def mlx(check):
    import mlx.core as mx
    from mlx import optimizers as optim

    def loss(p):
        return 0.5 * (mx.array(A) * (p["w"] - mx.array(T)) ** 2).sum()

    def walk(optimizer):
        weights = {"w": mx.array(START)}
        for _ in range(10):
            weights = optimizer.apply_gradients(mx.grad(loss)(weights), weights)
        return np.array(weights["w"])

    check("SGD with momentum")(lambda: walk(optim.SGD(RATE, 0.9)))
    check("Nesterov's momentum")(lambda: walk(optim.SGD(RATE, 0.9, nesterov=True)))
    check("RMSprop")(lambda: walk(optim.RMSprop(RATE, alpha=0.9)))
    check("Adagrad")(lambda: walk(optim.Adagrad(RATE)))

    @check("Adam")
    def adam():
        check.note("with bias_correction=True: the default is without")
        return walk(optim.Adam(RATE, bias_correction=True))

    @check("AdamW")
    def adamw():
        return walk(optim.AdamW(RATE, weight_decay=0.1, bias_correction=True))


def chainer(check):
    import chainer
    from chainer import functions, optimizers

    class Network(chainer.Link):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.w = chainer.Parameter(START.copy())

    def walk(optimizer):
        network = Network()
        optimizer.setup(network)
        for _ in range(10):
            network.cleargrads()
            (0.5 * functions.sum(A * (network.w - T) ** 2)).backward()
            optimizer.update()
        return network.w.array

    check("SGD with momentum")(lambda: walk(optimizers.MomentumSGD(RATE, 0.9)))
    check("Nesterov's momentum")(lambda: walk(optimizers.NesterovAG(RATE, 0.9)))
    check("RMSprop")(lambda: walk(optimizers.RMSprop(RATE, alpha=0.9)))
    check("Adagrad")(lambda: walk(optimizers.AdaGrad(RATE)))
    check("Adam")(lambda: walk(optimizers.Adam(RATE)))

    # The decay of its AdamW is not multiplied by the rate, but by eta.
    @check("AdamW")
    def adamw():
        return walk(optimizers.AdamW(RATE, eta=1.0, weight_decay_rate=0.1 * RATE))


def keras2(check):
    import keras
    from keras import backend as K
    from keras import optimizers

    # The weight is the output for an input of 1.
    def walk(optimizer):
        model = keras.Sequential(
            [keras.layers.Dense(3, use_bias=False, input_shape=(1,))]
        )
        model.set_weights([START[None]])
        factors = K.constant(A)
        model.compile(
            optimizer,
            loss=lambda true, found: (
                0.5 * K.sum(factors * (found - true) ** 2, axis=-1)
            ),
        )
        for _ in range(10):
            model.train_on_batch(np.ones((1, 1)), T[None])
        return model.get_weights()[0][0]

    before = K.epsilon()
    K.set_epsilon(1e-8)
    try:
        check("SGD with momentum")(lambda: walk(optimizers.SGD(RATE, momentum=0.9)))
        check("Nesterov's momentum")(
            lambda: walk(optimizers.SGD(RATE, momentum=0.9, nesterov=True))
        )
        check("RMSprop")(lambda: walk(optimizers.RMSprop(RATE, rho=0.9)))
        check("Adagrad")(lambda: walk(optimizers.Adagrad(RATE)))

        # On TensorFlow the step may be counted before or after it is read: chance.
        @check("Adam")
        def adam():
            check.note("it races with its own count of steps on TensorFlow")
            return walk(optimizers.Adam(RATE))

    finally:
        K.set_epsilon(before)

    @check("AdamW")
    def adamw():
        check.lacks("keras.optimizers.AdamW", "it came with Keras 3")


def cntk(check):
    import cntk as C

    def walk(make, **options):
        w = C.parameter(init=START)
        loss = C.reduce_sum(C.square(w - T) * A) / 2
        x = C.input_variable(())
        model = loss + 0 * x
        learner = make([w], RATE, minibatch_size=C.learners.IGNORE, **options)
        trainer = C.Trainer(model, model, [learner])
        for _ in range(10):
            trainer.train_minibatch({x: np.zeros(1, "float32")})
        return w.value

    momentum = {"momentum": 0.9, "unit_gain": False}
    check("SGD with momentum")(lambda: walk(C.momentum_sgd, **momentum))
    check("Nesterov's momentum")(lambda: walk(C.nesterov, **momentum))

    # Its steps grow and shrink by the signs of the last gradients.
    @check("RMSprop")
    def rmsprop():
        return walk(
            C.rmsprop,
            gamma=0.9,
            inc=1.2,
            dec=0.75,
            max=10.0,
            min=0.1,
            need_ave_multiplier=False,
        )

    check("Adagrad")(lambda: walk(C.adagrad, need_ave_multiplier=False))
    check("Adam")(
        lambda: walk(C.adam, momentum=0.9, variance_momentum=0.999, unit_gain=True)
    )

    # The only decay there is is added to the gradient.
    @check("AdamW")
    def adamw():
        return walk(
            C.adam, momentum=0.9, variance_momentum=0.999, l2_regularization_weight=0.1
        )


def caffe2(check):
    from caffe2.python import core, model_helper, optimizer, workspace
    from caffe2.python.modeling.initializers import Initializer

    def walk(build, **options):
        workspace.ResetWorkspace()
        workspace.FeedBlob("target", T)
        workspace.FeedBlob("scale", A / 2)
        model = model_helper.ModelHelper("walk")
        start = Initializer("GivenTensorFill", values=START)
        w = model.create_param("w", START.shape, initializer=start)
        squares = model.net.Sqr(model.net.Sub([w, "target"], 1), 1)
        loss = model.net.SumElements(model.net.Mul([squares, "scale"], 1), "loss")
        model.AddGradientOperators([loss])
        build(model, RATE, **options)
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net)
        for _ in range(10):
            workspace.RunNet(model.net)
        return workspace.FetchBlob("w")

    momentum = {"momentum": 0.9, "policy": "fixed"}
    check("SGD with momentum")(
        lambda: walk(optimizer.build_sgd, nesterov=0, **momentum)
    )
    check("Nesterov's momentum")(
        lambda: walk(optimizer.build_sgd, nesterov=1, **momentum)
    )

    @check("RMSprop")
    def rmsprop():
        check.note("without momentum; its epsilon is inside the root")
        return walk(optimizer.build_rms_prop, decay=0.9, momentum=0.0, epsilon=1e-16)

    check("Adagrad")(lambda: walk(optimizer.build_adagrad, epsilon=1e-8))

    @check("Adam")
    def adam():
        check.note("the count of steps comes after the update")

        def build(model, rate):
            iteration = model.param_init_net.ConstantFill(
                [], "optimizer_iteration", shape=[1], dtype=core.DataType.INT64
            )
            optimizer.build_adam(model, rate, epsilon=1e-8)
            model.net.Iter(iteration, iteration)

        return walk(build)

    @check("AdamW")
    def adamw():
        check.lacks("caffe2.python.optimizer.build_adamw", "no such optimizer")


def tinygrad(check):
    from tinygrad import Context, Tensor
    from tinygrad.nn import optim

    def walk(build, **options):
        w = Tensor(START.copy()).is_param_()
        optimizer = build([w], RATE, **options)
        with Context(TRAINING=1):
            for _ in range(10):
                optimizer.zero_grad()
                (0.5 * (Tensor(A) * (w - Tensor(T)) ** 2).sum()).backward()
                optimizer.step()
        return w.numpy()

    check("SGD with momentum")(lambda: walk(optim.SGD, momentum=0.9))
    check("Nesterov's momentum")(lambda: walk(optim.SGD, momentum=0.9, nesterov=True))

    @check("RMSprop")
    def rmsprop():
        check.lacks("tinygrad.nn.optim.RMSprop", "no such optimizer")

    @check("Adagrad")
    def adagrad():
        check.lacks("tinygrad.nn.optim.Adagrad", "no such optimizer")

    check("Adam")(lambda: walk(optim.Adam))
    check("AdamW")(lambda: walk(optim.AdamW, weight_decay=0.1))
