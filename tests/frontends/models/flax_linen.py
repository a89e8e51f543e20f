"""Models of Flax Linen and plain functions of JAX."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False, name="first")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.95)(x)
        x = nn.relu(x)
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.ConvTranspose(5, (3, 3), strides=(2, 2))(x)
        x = nn.GroupNorm(num_groups=None, group_size=5)(x)
        x = nn.avg_pool(nn.gelu(x), (3, 3), padding="SAME", count_include_pad=False)
        x = x.reshape((x.shape[0], -1))
        x = nn.Dropout(0.5, deterministic=not train)(nn.Dense(9)(x))
        return nn.Dense(4)(x)


class Sequences(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(20, 6)(tokens)
        x = nn.RNN(nn.GRUCell(5))(x)
        x = nn.RNN(nn.OptimizedLSTMCell(4), name="fast")(x)
        x = nn.Bidirectional(nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.LSTMCell(4)))(x)
        _, x = nn.RNN(nn.SimpleCell(6), return_carry=True)(x)
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
        x = nn.RMSNorm()(x)
        return nn.softmax(nn.Dense(3)(x[:, -1]))


def linen():
    module = Convolutional()
    x = jnp.zeros((1, 13, 15, 3))
    variables = module.init(jax.random.key(0), x, train=False)
    return (
        module.bind(variables),
        optax.sgd(0.1, momentum=0.9),
        lambda scores, y: jnp.mean((scores - y) ** 2),
    )


def sequences():
    module = Sequences()
    variables = module.init(jax.random.key(1), jnp.zeros((1, 5), int))
    return module.bind(variables)


def unbound():
    return Sequences()


def network(weights, x):
    for name in ("first", "second"):
        layer = weights[name]
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return jnp.dot(x, weights["last"].T)


def plain():
    keys = jax.random.split(jax.random.key(2), 3)
    normal = jax.random.normal
    weights = {
        "first": {"w": normal(keys[0], (6, 8)), "b": jnp.ones(8)},
        "second": {"w": normal(keys[1], (8, 5)), "b": jnp.zeros(5)},
        "last": normal(keys[2], (3, 5)),
    }
    loss = lambda scores, y: jnp.mean((scores - y) ** 2)  # noqa: E731
    return functools.partial(network, weights), optax.adam(0.01), loss


def images(weights, x):
    x = jax.lax.conv_general_dilated(
        x,
        weights["kernel"],
        (2, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = jnp.tanh(x + weights["bias"])
    x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 3, 1), (1, 2, 2, 1), "VALID"
    )
    return x.mean((1, 2)) @ weights["head"]


def lax():
    keys = jax.random.split(jax.random.key(3), 2)
    weights = {
        "kernel": jax.random.normal(keys[0], (3, 2, 3, 7)),
        "bias": jnp.ones(7),
        "head": jax.random.normal(keys[1], (7, 4)),
    }
    return functools.partial(images, weights)
