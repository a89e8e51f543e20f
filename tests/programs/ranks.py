"""A program of several processes without an engine: RANK 1 does what BAD says.

The others wait for it, as an engine would have them wait.
"""

import os
import time

import numpy as np

RANK, BAD = int(os.environ["RANK"]), os.environ.get("BAD", "")


def build(seed=0):
    return np.zeros(2)


def load_weights(model, path):
    pass


def save_weights(model, path):
    np.savez(path, weight=model)


def predict(model, x):
    return x


def train_step(model, x, y):
    model += [x.sum(), len(x)]
    if BAD and RANK != 1:
        time.sleep(600)
    if BAD == "dies":
        os._exit(3)
    if BAD == "raises":
        raise ValueError("broken on purpose")
    if BAD == "hangs":
        time.sleep(500)
    return float(RANK)
