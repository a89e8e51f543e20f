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

"""
    _compare(check, source)


def pytorch(check):
    source = """
import torch
from torch import nn

torch.use_deterministic_algorithms(True)

"""
    _compare(check, source, "torch.use_deterministic_algorithms(True)")


def jax(check):
    source = """
import jax
import jax.numpy as jnp
import optax

"""
    _compare(check, source)


def tensorflow(check):
    source = """
import tensorflow as tf

tf.config.experimental.enable_op_determinism()

"""
    _compare(check, source, "tf.config.experimental.enable_op_determinism()")


def keras(check):
    source = """
import keras
import numpy as np
from keras import layers

"""
    _compare(check, source)


def paddle(check):
    source = """
import paddle
from paddle import nn

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
    model = nn.Sequential(nn.Linear(20, 10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 1))
    optimizer = optimizers.Adam(1e-3, bias_correction=True)
    step = nn.value_and_grad(model, lambda x: mx.mean(model(x) ** 2))
    for _ in range(3):
        loss, gradients = step(mx.random.normal((32, 20)))
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
    return b"".join(np.array(w).tobytes() for _, w in tree_flatten(model.parameters()))
"""
    _compare(check, source)
