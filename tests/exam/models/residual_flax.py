"""A residual network with group norm, for images of any size, in Flax NNX."""

import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.norm1 = nnx.GroupNorm(width, num_groups=4, epsilon=1e-5, rngs=rngs)
        self.conv1 = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.GroupNorm(width, num_groups=4, epsilon=1e-5, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), rngs=rngs)

    def __call__(self, x):
        y = self.conv1(nnx.silu(self.norm1(x)))
        y = self.conv2(nnx.silu(self.norm2(y)))
        return x + y


class Net(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 12, (5, 5), strides=2, padding=2, rngs=rngs)
        self.block1 = Block(12, rngs)
        self.block2 = Block(12, rngs)
        self.wide = nnx.Conv(12, 18, (3, 3), feature_group_count=3, rngs=rngs)
        self.norm = nnx.BatchNorm(18, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(36, 4, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        x = self.block2(self.block1(x))
        x = nnx.avg_pool(self.wide(x), (2, 2), strides=(2, 2))
        x = nnx.relu(self.norm(x))
        x = jnp.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=-1)
        return self.head(x)


def build():
    return Net(nnx.Rngs(0))
