"""Two blocks of a transformer, in Flax NNX."""

from flax import nnx


class Block(nnx.Module):
    def __init__(self, width, heads, rngs):
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.wide = nnx.Linear(width, 20, rngs=rngs)
        self.narrow = nnx.Linear(20, width, rngs=rngs)

    def __call__(self, x):
        y = self.norm1(x)
        y = self.attention(y, is_causal=True)
        x = x + y
        y = nnx.gelu(self.wide(self.norm2(x)), approximate=False)
        return x + self.narrow(y)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(45, 12, rngs=rngs)
        self.block1 = Block(12, 3, rngs)
        self.block2 = Block(12, 3, rngs)
        self.norm = nnx.LayerNorm(12, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(12, 5, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens) * 12**0.5
        x = self.block2(self.block1(x))
        x = self.norm(x).mean(axis=1)
        return nnx.softmax(self.fc(x), axis=-1)


def build():
    return Net(nnx.Rngs(0))
