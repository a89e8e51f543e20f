"""Networks with the weights of a checkpoint, in Flax NNX."""

import jax.numpy as jnp
from checkpoint import IMAGES, MEMORY
from flax import nnx


class Images(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 5, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(5, momentum=0.9, rngs=rngs)
        self.fc1 = nnx.Linear(60, 9, rngs=rngs)
        self.fc2 = nnx.Linear(9, 9, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        return self.fc2(jnp.tanh(self.fc1(x)))


class Memory(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(30, 6, rngs=rngs)
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(6, 6, rngs=rngs))
        self.fc = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, tokens):
        x = self.lstm(self.embedding(tokens))
        return self.fc(x[:, -1])


def images():
    model, state = Images(nnx.Rngs(0)), IMAGES
    model.conv.kernel[...] = state["conv.weight"].transpose(2, 3, 1, 0)
    model.conv.bias[...] = state["conv.bias"]
    model.norm.scale[...] = state["norm.weight"]
    model.norm.bias[...] = state["norm.bias"]
    model.norm.mean[...] = state["norm.running_mean"]
    model.norm.var[...] = state["norm.running_var"]
    kernel = state["fc1.weight"].reshape(9, 5, 3, 4)
    model.fc1.kernel[...] = kernel.transpose(2, 3, 1, 0).reshape(60, 9)
    model.fc1.bias[...] = state["fc1.bias"]
    model.fc2.kernel[...] = state["fc2.weight"].T
    model.fc2.bias[...] = state["fc2.bias"]
    return model


def memory():
    model, state = Memory(nnx.Rngs(0)), MEMORY
    cell = model.lstm.cell
    model.embedding.embedding[...] = state["embedding.weight"]
    cell.dense_i.kernel[...] = state["lstm.weight_ih_l0"].T
    cell.dense_h.kernel[...] = state["lstm.weight_hh_l0"].T
    cell.dense_h.bias[...] = state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"]
    model.fc.kernel[...] = state["fc.weight"].T
    model.fc.bias[...] = state["fc.bias"]
    return model
