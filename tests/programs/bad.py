"""Goes wrong in the way that the variable BAD names; else it is good.py."""

import os
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import good
from good import *  # noqa: F403

HOW = os.environ["BAD"]


def build(seed=0):
    if HOW == "raises in build":
        raise ValueError("no such layer")
    if HOW == "exits":
        print("leaving now", flush=True)
        os._exit(7)
    if HOW == "sys.exit":
        sys.exit(3)
    if HOW == "killed":
        print("about to be killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if HOW == "hangs":
        print("hanging", flush=True)
        time.sleep(1000)
    if HOW == "memory":
        raise MemoryError("Unable to allocate 7 TiB")
    if HOW == "prints":
        print("a line from Python", flush=True)
        os.write(1, b"a line from C\n")
        subprocess.call(["echo", "a line from a child"])
    if HOW == "reads":
        assert sys.stdin.read() == ""
    if HOW == "children":
        subprocess.Popen(["sleep", "987"])
        if os.fork() == 0:
            time.sleep(987)
            os._exit(0)
    if HOW == "children, then exits":
        if os.fork() == 0:
            time.sleep(987)
            os._exit(0)
        os._exit(9)
    return good.build(seed)


def train(model, optimizer, x, y, epochs=1, seed=0, validation=None, on_step=None):
    steps = []

    def counted(loss):
        steps.append(loss)
        if HOW == "raises at step 3" and len(steps) == 3:
            raise ArithmeticError("step 3 went wrong")
        if HOW == "memory grows":
            keep.append(np.ones(30_000_000 // 8))
        on_step(loss)

    keep = []
    good.train(model, optimizer, x, y, epochs, seed, validation, counted)
