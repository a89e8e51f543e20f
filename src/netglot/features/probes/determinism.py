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
