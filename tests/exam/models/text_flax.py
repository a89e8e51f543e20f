"""A recurrent classifier of texts, in Flax NNX."""

from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(50, 9, rngs=rngs)
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(9, 7, rngs=rngs))
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.rnn = nnx.RNN(nnx.SimpleCell(7, 6, rngs=rngs))
        self.fc = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens)
        x = self.lstm(x)
        x = self.dropout(x)
        x = self.rnn(x)
        return self.fc(x[:, -1])


def build():
    return Net(nnx.Rngs(0))
