"""The same numbers in every process.

Initial weights, dropout and three steps of training with a seed: the same bits in two
processes, and others with another seed?
"""

TIMEOUT = 300

CHECKS = {
    "two processes, the same seed": True,
    "another seed": False,
    "seeded again in one process": True,
}


def _compare(check, source, note=None):
    """``source`` defines ``train(seed)``, the weights' bytes after training."""
    program = (
        source
        + """
import hashlib
for seed in (1, 1, 2):
    print("found", hashlib.sha256(train(seed)).hexdigest())
"""
    )

    def digests():
        lines = check.python(program).splitlines()
        return [line.split()[1] for line in lines if line.startswith("found ")]

    found = []

    @check("two processes, the same seed")
    def processes():
        if note:
            check.note(note)
        found.extend([digests(), digests()])
        check.note(found[0][0][:12])
        return found[0][0] == found[1][0]

    @check("another seed")
    def another():
        return found[0][0] == found[0][2]

    @check("seeded again in one process")
    def again():
        return found[0][0] == found[0][1]


def numpy(check):
    source = """
import autograd.numpy as np
from autograd import grad

def train(seed):
    random = np.random.default_rng(seed)
    x, w = random.standard_normal((32, 20)), random.standard_normal((20, 10))
    for step in range(3):
        mask = random.random((32, 10)) < 0.5
        w = w - 0.1 * grad(lambda w: np.mean(np.tanh(x @ w) * mask))(w)
    return w.tobytes()
"""
    _compare(check, source)


def pytorch(check):
    source = """
import torch
from torch import nn

torch.use_deterministic_algorithms(True)

def train(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(20, 10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 1)
    )
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(3):
        optimizer.zero_grad()
        model(torch.randn(32, 20)).square().mean().backward()
        optimizer.step()
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())
"""
    _compare(check, source, "torch.use_deterministic_algorithms(True)")


def jax(check):
    source = """
import jax
import jax.numpy as jnp
import optax

def train(seed):
    key, first, second = jax.random.split(jax.random.key(seed), 3)
    weights = jax.random.normal(first, (20, 10)), jax.random.normal(second, (10, 1))
    optimizer = optax.adam(1e-3)
    state = optimizer.init(weights)

    def loss(weights, key):
        inputs, dropped = jax.random.split(key)
        hidden = jnp.tanh(jax.random.normal(inputs, (32, 20)) @ weights[0])
        kept = jax.random.bernoulli(dropped, 0.5, hidden.shape)
        return jnp.mean((hidden * kept @ weights[1]) ** 2)

    @jax.jit
    def step(weights, state, key):
        gradients = jax.grad(loss)(weights, key)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(weights, updates), state

    for key in jax.random.split(key, 3):
        weights, state = step(weights, state, key)
    return jnp.concatenate([w.ravel() for w in weights]).tobytes()
"""
    _compare(check, source)


def tensorflow(check):
    source = """
import tensorflow as tf

tf.config.experimental.enable_op_determinism()

def train(seed):
    tf.random.set_seed(seed)
    w1 = tf.Variable(tf.random.normal((20, 10)))
    w2 = tf.Variable(tf.random.normal((10, 1)))
    for step in range(3):
        with tf.GradientTape() as tape:
            hidden = tf.nn.dropout(tf.tanh(tf.random.normal((32, 20)) @ w1), 0.5)
            loss = tf.reduce_mean((hidden @ w2) ** 2)
        for w, gradient in zip((w1, w2), tape.gradient(loss, (w1, w2))):
            w.assign_sub(0.1 * gradient)
    return w1.numpy().tobytes() + w2.numpy().tobytes()
"""
    _compare(check, source, "tf.config.experimental.enable_op_determinism()")


def keras(check):
    source = """
import keras
import numpy as np
from keras import layers

def train(seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [layers.Dense(10, "tanh"), layers.Dropout(0.5), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x = np.random.normal(size=(96, 20))
    model.fit(x, x[:, :1], batch_size=32, epochs=1, verbose=0)
    return b"".join(w.tobytes() for w in model.get_weights())
"""
    _compare(check, source)


def paddle(check):
    source = """
import paddle
from paddle import nn

def train(seed):
    paddle.seed(seed)
    model = nn.Sequential(
        nn.Linear(20, 10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 1)
    )
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    for step in range(3):
        model(paddle.randn((32, 20))).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    return b"".join(p.numpy().tobytes() for p in model.parameters())
"""
    _compare(check, source)


def mlx(check):
    source = """
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx import optimizers
from mlx.utils import tree_flatten

def train(seed):
    mx.random.seed(seed)
    model = nn.Sequential(
        nn.Linear(20, 10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 1)
    )
    optimizer = optimizers.Adam(1e-3, bias_correction=True)
    step = nn.value_and_grad(model, lambda x: mx.mean(model(x) ** 2))
    for _ in range(3):
        loss, gradients = step(mx.random.normal((32, 20)))
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
    return b"".join(np.array(w).tobytes() for _, w in tree_flatten(model.parameters()))
"""
    _compare(check, source)


def theano(check):
    source = """
import numpy as np
import theano
import theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams

def train(seed):
    random, streams = np.random.RandomState(seed), RandomStreams(seed)
    w = theano.shared(random.normal(size=(20, 10)))
    x = streams.normal((32, 20))
    hidden = T.tanh(T.dot(x, w)) * streams.binomial((32, 10), p=0.5)
    step = theano.function(
        [], [], updates=[(w, w - 0.1 * theano.grad(T.mean(hidden**2), w))],
        mode="FAST_COMPILE",
    )
    for _ in range(3):
        step()
    return w.get_value().tobytes()
"""
    _compare(check, source)


def pytensor(check):
    source = """
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.random.utils import RandomStream

def train(seed):
    random, streams = np.random.default_rng(seed), RandomStream(seed)
    w = pytensor.shared(random.normal(size=(20, 10)))
    x = streams.normal(0, 1, size=(32, 20))
    hidden = pt.tanh(pt.dot(x, w)) * streams.bernoulli(0.5, size=(32, 10))
    updates = [(w, w - 0.1 * pytensor.grad(pt.mean(hidden**2), w))]
    step = pytensor.function(
        [], [], updates=updates + list(streams.updates()), mode="FAST_COMPILE"
    )
    for _ in range(3):
        step()
    return w.get_value().tobytes()
"""
    _compare(check, source)


def tensorflow1(check):
    source = """
import tensorflow as tf

def train(seed):
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    w1 = tf.Variable(tf.random_normal((20, 10)))
    w2 = tf.Variable(tf.random_normal((10, 1)))
    hidden = tf.nn.dropout(tf.tanh(tf.matmul(tf.random_normal((32, 20)), w1)), rate=0.5)
    loss = tf.reduce_mean(tf.matmul(hidden, w2) ** 2)
    step = tf.train.AdamOptimizer().minimize(loss)
    options = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    with tf.Session(config=options) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(step)
        return b"".join(w.tobytes() for w in session.run([w1, w2]))
"""
    _compare(check, source, "with one thread")


def chainer(check):
    source = """
import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

def train(seed):
    np.random.seed(seed)
    first, second = L.Linear(20, 10), L.Linear(10, 1)
    model = chainer.ChainList(first, second)
    optimizer = chainer.optimizers.Adam().setup(model)
    for step in range(3):
        x = np.random.normal(size=(32, 20)).astype("float32")
        loss = F.mean(second(F.dropout(F.tanh(first(x)), 0.5)) ** 2)
        model.cleargrads()
        loss.backward()
        optimizer.update()
    return b"".join(p.array.tobytes() for p in model.params())
"""
    _compare(check, source)


def mxnet(check):
    source = """
import mxnet as mx
from mxnet import autograd, gluon, nd

def train(seed):
    mx.random.seed(seed)
    model = gluon.nn.Sequential()
    model.add(
        gluon.nn.Dense(10, activation="tanh"), gluon.nn.Dropout(0.5), gluon.nn.Dense(1)
    )
    model.initialize(mx.init.Normal(0.1))
    trainer = gluon.Trainer(model.collect_params(), "adam")
    for step in range(3):
        with autograd.record():
            loss = model(nd.random.normal(shape=(32, 20))) ** 2
        loss.backward()
        trainer.step(32)
    weights = model.collect_params().values()
    return b"".join(p.data().asnumpy().tobytes() for p in weights)
"""
    _compare(check, source)


def cntk(check):
    source = """
import cntk as C
import numpy as np
from cntk.layers import Dense, Dropout, Sequential

def train(seed):
    C.cntk_py.set_fixed_random_seed(seed)
    C.cntk_py.reset_random_seed(seed)
    x, y = C.input_variable(8), C.input_variable(3)
    model = Sequential([Dense(16, C.relu), Dropout(0.5, seed=seed), Dense(3)])(x)
    loss = C.squared_error(model, y)
    learner = C.sgd(model.parameters, 0.1, minibatch_size=C.learners.IGNORE)
    trainer = C.Trainer(model, loss, [learner])
    random = np.random.RandomState(0)
    for _ in range(3):
        features, targets = random.rand(16, 8), random.rand(16, 3)
        batch = {x: features.astype("float32"), y: targets.astype("float32")}
        trainer.train_minibatch(batch)
    return b"".join(p.value.tobytes() for p in model.parameters)
"""
    _compare(check, source)


def caffe2(check):
    source = """
import numpy as np
from caffe2.python import brew, core, model_helper, optimizer, workspace

core.GlobalInit(["caffe2", "--caffe2_log_level=3"])

def train(seed):
    workspace.ResetWorkspace()
    model = model_helper.ModelHelper("model")
    hidden = brew.relu(model, brew.fc(model, "x", "first", 8, 16), "hidden")
    hidden = brew.dropout(model, hidden, "dropped", ratio=0.5, is_test=False)
    scores = brew.fc(model, hidden, "second", 16, 3)
    errors = model.net.SquaredL2Distance([scores, "y"], "errors")
    model.AddGradientOperators([model.net.AveragedLoss(errors, "loss")])
    optimizer.build_sgd(model, 0.1, policy="fixed")
    # A seed for each operator that draws.
    rng = np.random.RandomState(seed)
    for op in [*model.param_init_net.Proto().op, *model.net.Proto().op]:
        op.device_option.random_seed = rng.randint(2**31)
    workspace.FeedBlob("x", np.zeros((16, 8), "float32"))
    workspace.FeedBlob("y", np.zeros((16, 3), "float32"))
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    random = np.random.RandomState(0)
    for _ in range(3):
        workspace.FeedBlob("x", random.rand(16, 8).astype("float32"))
        workspace.FeedBlob("y", random.rand(16, 3).astype("float32"))
        workspace.RunNet(model.net)
    return b"".join(workspace.FetchBlob(p).tobytes() for p in model.GetParams())
"""
    _compare(check, source)
