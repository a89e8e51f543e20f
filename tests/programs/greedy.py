"""Heeds no limit: starts threads of its own at every step."""

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import good
from good import *  # noqa: F403

BATCH = 8
POOL = ThreadPoolExecutor(4)
BYTES = b"0" * 200_000


def train_step(model, optimizer, x, y):
    # Without Python's lock, in four threads at once.
    list(POOL.map(lambda _: hashlib.sha256(BYTES).digest(), range(8)))
    return good.train_step(model, optimizer, x, y)


def train(model, optimizer, x, y, epochs=1, seed=0, validation=None, on_step=None):
    for start in range(0, len(x) - BATCH + 1, BATCH):
        rows = slice(start, start + BATCH)
        loss = train_step(model, optimizer, x[rows], y[rows])
        if on_step:
            on_step(loss)
