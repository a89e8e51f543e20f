"""The purely functional convention: steps and training return the new state."""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from good import BATCH, load_data, softmax  # noqa: F401


def build(seed=0):
    weight = np.random.RandomState(seed).normal(0, 0.1, (4, 3))
    return {"weight": weight, "bias": np.zeros(3)}, {"steps": 0}


def load_weights(params, path):
    data = np.load(path)
    return {name: data[name] for name in data.files}


def save_weights(params, path):
    np.savez(path, **params)


def train_step(params, optimizer, x, y):
    p = softmax(x @ params["weight"] + params["bias"])
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    p[np.arange(len(y)), y] -= 1
    new = {
        "weight": params["weight"] - 0.5 * (x.T @ p) / len(y),
        "bias": params["bias"] - 0.5 * p.mean(axis=0),
    }
    return new, {"steps": optimizer["steps"] + 1}, loss


def train(params, optimizer, x, y, epochs=1, seed=0, validation=None, on_step=None):
    rng = np.random.RandomState(seed)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            at = order[start : start + BATCH]
            params, optimizer, loss = train_step(params, optimizer, x[at], y[at])
            if on_step:
                on_step(loss)
    return params, optimizer


def predict(params, x):
    return softmax(x @ params["weight"] + params["bias"])


def evaluate(params, x, y):
    return float((predict(params, x).argmax(axis=1) == y).mean())
