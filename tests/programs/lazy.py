"""Computes when it is asked to: what a clock without a barrier would miss."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import good
from good import *  # noqa: F403

BATCH = 8
QUEUE = []
STEP_SECONDS = 0.004


def wait():
    """Does the work that was put off."""
    time.sleep(STEP_SECONDS * len(QUEUE))
    QUEUE.clear()
    return 0.0


class Loss:
    def __init__(self, value):
        self.value = value

    def __float__(self):
        wait()
        return float(self.value)


def train_step(model, optimizer, x, y):
    QUEUE.append(1)
    return Loss(good.train_step(model, optimizer, x, y))


def train(model, optimizer, x, y, epochs=1, seed=0, validation=None, on_step=None):
    for _ in range(epochs):
        for start in range(0, len(x) - BATCH + 1, BATCH):
            chosen = slice(start, start + BATCH)
            loss = train_step(model, optimizer, x[chosen], y[chosen])
            if on_step:
                on_step(loss)
