"""Models of Flax NNX, written as people write them; sizes that all differ."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.nn import gelu, relu


class Convolutional(nnx.Module):
    """Convolutions, norms, pools, a flattened image, a dropout, two dense layers."""

    def __init__(self, rngs):
        self.conv1 = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm1 = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(8, 6, (3, 2), padding="VALID", rngs=rngs)
        self.norm2 = nnx.GroupNorm(6, num_groups=3, rngs=rngs)
        self.dense1 = nnx.Linear(4 * 3 * 6, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.4, rngs=rngs)
        self.dense2 = nnx.Linear(10, 4, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = relu(self.norm1(self.conv1(x)))
        x = nnx.max_pool(x, (2, 2), strides=(1, 1), padding="SAME")
        x = nnx.silu(self.norm2(self.conv2(x)))
        x = nnx.avg_pool(x, (2, 3), strides=(1, 2), padding=((0, 0), (1, 0)))
        x = x.reshape(x.shape[0], -1)
        x = self.dropout(jnp.tanh(self.dense1(x)))
        return nnx.log_softmax(self.dense2(x), axis=-1)


class Block(nnx.Module):
    """A residual block that scales its channels."""

    def __init__(self, width, rngs):
        self.conv = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.squeeze = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x):
        y = self.norm(self.conv(x))
        scale = nnx.sigmoid(self.squeeze(y.mean(axis=(1, 2))))
        return relu(x + y * scale[:, None, None, :])


class Residual(nnx.Module):
    """Blocks in a sequence, strides, groups, dilation, both pools of space."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(
            5, 6, (5, 4), strides=(2, 3), padding=((2, 1), (1, 2)), rngs=rngs
        )
        self.blocks = nnx.Sequential(Block(6, rngs), Block(6, rngs))
        self.wide = nnx.Conv(
            6, 9, (3, 3), kernel_dilation=2, feature_group_count=3, rngs=rngs
        )
        self.up = nnx.ConvTranspose(9, 4, (3, 2), strides=(2, 3), rngs=rngs)
        self.valid = nnx.ConvTranspose(
            4, 3, (4, 3), strides=2, padding="VALID", rngs=rngs
        )
        self.turned = nnx.ConvTranspose(
            3,
            7,
            (3, 3),
            strides=2,
            padding=((1, 2), (2, 1)),
            transpose_kernel=True,
            rngs=rngs,
        )
        self.head = nnx.Linear(14, 3, rngs=rngs)

    def __call__(self, x):
        x = self.blocks(self.stem(x))
        x = nnx.leaky_relu(self.wide(x), 0.2)
        x = nnx.elu(self.up(x))
        x = self.turned(nnx.softplus(self.valid(x)))
        x = jnp.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=-1)
        return self.head(x)


class Recurrent(nnx.Module):
    """An embedding, every recurrent layer, the last step."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(30, 7, rngs=rngs)
        self.gru = nnx.RNN(nnx.GRUCell(7, 5, rngs=rngs))
        self.lstm = nnx.Bidirectional(
            nnx.RNN(nnx.OptimizedLSTMCell(5, 6, rngs=rngs)),
            nnx.RNN(nnx.OptimizedLSTMCell(5, 6, rngs=rngs)),
        )
        self.slow = nnx.RNN(nnx.LSTMCell(12, 4, rngs=rngs), return_carry=True)
        self.back = nnx.RNN(nnx.SimpleCell(4, 3, rngs=rngs), reverse=True)
        self.out = nnx.Linear(7, 2, rngs=rngs)

    def __call__(self, x):
        x = self.lstm(self.gru(self.embed(x)))
        (_, state), x = self.slow(x)
        x = self.back(x)[:, -1]
        return self.out(jnp.concatenate([state, x], axis=1))


class Attentive(nnx.Module):
    """A block of a transformer, positions that are a weight of their own no layer."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(40, 8, rngs=rngs)
        self.norm1 = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.norm2 = nnx.RMSNorm(8, rngs=rngs)
        self.wide = nnx.Linear(8, 11, rngs=rngs)
        self.narrow = nnx.Linear(11, 8, rngs=rngs)
        self.act = gelu
        self.last = nnx.MultiHeadAttention(
            4, 8, use_bias=False, decode=False, rngs=rngs
        )
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.norm1(x), is_causal=True)
        y = self.act(self.wide(self.norm2(x)))
        x = x + self.narrow(y) / 2
        x = self.last(x, mask=nnx.make_causal_mask(tokens))
        return self.head(x[:, 0] + x.mean(axis=1))


class Functions(nnx.Module):
    """Functions and arithmetic on an image, with a weight that is no layer's."""

    def __init__(self, rngs):
        self.kernel = nnx.Param(rngs.params.normal((6, 3)))
        self.bias = nnx.Param(jnp.ones(3))

    def __call__(self, x):
        a, b = jnp.split(x, [2], axis=-1)
        x = jnp.concatenate([jnp.abs(a), jnp.exp(-b)], axis=-1)
        x = jnp.sqrt(jnp.maximum(x, 0.5)) - jnp.log(x + 2) * 3 + jnp.square(x) / 4
        x = jnp.clip(x, -1, 2.5) + nnx.gelu(x, approximate=False) + nnx.selu(x)
        x = jnp.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0)))
        x = jnp.minimum(x, x * x) - jax.nn.relu6(1 - x)
        x = jax.nn.softmax(x, axis=2) * x[:, :, 1:2] + nnx.swish(x)
        x = jax.image.resize(x, (x.shape[0], 12, 27, 6), "bilinear")
        x = x[:, 1::2, :-2].transpose(0, 2, 1, 3).sum(axis=(1, 2), keepdims=True)
        x = x.reshape(x.shape[0], 6)
        return x @ self.kernel + self.bias


def convolutional():
    model = Convolutional(nnx.Rngs(0))

    def loss(scores, y):
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    return model, nnx.Optimizer(model, optax.adamw(0.01), wrt=nnx.Param), loss


def residual():
    return Residual(nnx.Rngs(1))


def recurrent():
    return Recurrent(nnx.Rngs(2))


def attentive():
    return Attentive(nnx.Rngs(3))


def functions():
    return Functions(nnx.Rngs(4))


class Broken(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        self.second = nnx.Linear(5, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.second(self.first(x))


class Unusual(nnx.Module):
    """Layers that are no operations."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(6, 4, (3,), padding="CIRCULAR", rngs=rngs)
        self.act = nnx.PReLU()
        self.position = nnx.Param(jnp.ones((5, 4)))
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.act(self.conv(x)) + self.position)


def unusual():
    return Unusual(nnx.Rngs(5))


class Compiled(nnx.Module):
    """A part that is compiled on its own."""

    def __init__(self, rngs):
        self.inner = nnx.Linear(4, 5, rngs=rngs)
        self.outer = nnx.Linear(5, 2, rngs=rngs)

    @nnx.jit
    def hidden(self, x):
        return relu(self.inner(x))

    def __call__(self, x):
        return self.outer(self.hidden(x))


def compiled():
    return Compiled(nnx.Rngs(6))
