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
    model = nn.Sequential(nn.Linear(20, 10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 1))
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(3):
        optimizer.zero_grad()
        model(torch.randn(32, 20)).square().mean().backward()
        optimizer.step()
    return torch.cat([p.flatten() for p in model.parameters()]).detach().numpy().tobytes()
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
