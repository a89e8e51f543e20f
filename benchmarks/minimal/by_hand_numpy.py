"""mnist-cnn by hand, as short as it gets: what a raced program is measured against."""

import autograd.numpy as np
import numpy
from autograd import value_and_grad

rng = numpy.random.default_rng(0)
SHAPES = [(9, 32), (288, 64), (9216, 128), (128, 10)]


def draw(shape):
    limit = (6 / sum(shape)) ** 0.5
    return rng.uniform(-limit, limit, shape).astype("float32")


weights = [(draw(s), numpy.zeros(s[1], "float32")) for s in SHAPES]
moments = [[numpy.zeros_like(a) for a in pair * 2] for pair in weights]


def conv(x, w, b):
    h, k = x.shape[1] - 2, x.shape[2] - 2
    patches = [x[:, i : i + h, j : j + k] for i in range(3) for j in range(3)]
    return np.maximum(np.concatenate(patches, axis=3) @ w + b, 0)


def loss_of(weights, x, y):
    for w, b in weights[:2]:
        x = conv(x, w, b)
    n, h, w, c = x.shape
    x = np.max(np.reshape(x, (n, h // 2, 2, w // 2, 2, c)), axis=(2, 4))
    x = x * ((rng.random(x.shape, "float32") >= 0.25) / numpy.float32(0.75))
    x = np.maximum(np.reshape(x, (n, -1)) @ weights[2][0] + weights[2][1], 0)
    x = x * ((rng.random(x.shape, "float32") >= 0.5) / numpy.float32(0.5))
    x = x @ weights[3][0] + weights[3][1]
    x = x - numpy.max(x._value, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[np.arange(n), y])


slope = value_and_grad(loss_of)


def run(batches):
    """Yield the loss of every step."""
    for t, (x, y) in enumerate(batches, start=1):
        loss, grads = slope(weights, x.transpose(0, 2, 3, 1), y)
        rate = 1e-3 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        for pair, g, m in zip(weights, grads, moments, strict=True):
            for i in (0, 1):
                m[i] += 0.1 * (g[i] - m[i])
                m[i + 2] += 0.001 * (g[i] ** 2 - m[i + 2])
                pair[i][...] -= rate * m[i] / (numpy.sqrt(m[i + 2]) + 1e-8)
        yield loss
