"""A GRU in two layers, the second in both directions, in Flax NNX."""

from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(40, 8, rngs=rngs)
        self.gru1 = nnx.RNN(nnx.GRUCell(8, 7, rngs=rngs))
        self.gru2 = nnx.Bidirectional(
            nnx.RNN(nnx.GRUCell(7, 5, rngs=rngs)),
            nnx.RNN(nnx.GRUCell(7, 5, rngs=rngs)),
        )
        self.fc = nnx.Linear(10, 4, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens)
        x = self.gru1(x)
        x = self.gru2(x)
        return nnx.log_softmax(self.fc(x.mean(axis=1)), axis=-1)


def build():
    return Net(nnx.Rngs(0))
