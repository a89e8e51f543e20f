"""A perceptron with its optimizers and losses, in Flax NNX."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.fc1 = nnx.Linear(11, 16, rngs=rngs)
        self.fc2 = nnx.Linear(16, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.fc3 = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.gelu(self.fc1(x), approximate=False)
        x = jax.nn.tanh(self.fc2(x))
        x = self.dropout(x)
        return self.fc3(x)


def loss(scores, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    return losses.mean()


def trained(transformation, loss):
    model = Net(nnx.Rngs(0))
    return model, nnx.Optimizer(model, transformation, wrt=nnx.Param), loss


def adam():
    return trained(optax.adam(0.01), loss)


def adamw():
    return trained(optax.adamw(0.01, weight_decay=0.1), loss)


def sgd():
    return trained(optax.sgd(0.05, momentum=0.9), loss)


def rmsprop():
    return trained(optax.rmsprop(0.01, decay=0.9, eps_in_sqrt=False), loss)


def regression():
    def squared(outputs, targets):
        return jnp.mean(jnp.square(outputs - targets))

    return trained(optax.sgd(0.05), squared)
