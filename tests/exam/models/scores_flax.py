"""Attention of one head, written by hand, in Flax NNX."""

import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.query = nnx.Linear(10, 8, rngs=rngs)
        self.key = nnx.Linear(10, 8, rngs=rngs)
        self.value = nnx.Linear(10, 8, rngs=rngs)
        self.output = nnx.Linear(8, 10, rngs=rngs)
        self.norm = nnx.RMSNorm(10, epsilon=1e-6, rngs=rngs)
        self.fc = nnx.Linear(10, 3, rngs=rngs)

    def __call__(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = jnp.einsum("nqf,nkf->nqk", q, k) / 8**0.5
        y = nnx.softmax(scores, axis=-1) @ v
        x = self.norm(x + self.output(y))
        return self.fc(x[:, 0])


def build():
    return Net(nnx.Rngs(0))
