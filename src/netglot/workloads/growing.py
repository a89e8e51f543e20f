"""Fully connected networks of any depth and width: what time and memory grow with."""

from __future__ import annotations

from netglot.errors import UserError
from netglot.graph import Block, Builder
from netglot.ops import Dense, Tanh
from netglot.recipe import SGD, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Workload
from netglot.workloads.mnist import DIGITS

#: Width of the networks that grow deep, layers of those that grow wide.
WIDTH, DEPTH = 128, 4


def _layer() -> Block:
    """A dense layer as wide as its input."""
    net = Builder("Layer")
    width = net.parameter("width")
    x = net.input("x", "NF", (width,))
    x = net.add(Dense(width), x, name="fc")
    return net.block(net.add(Tanh(), x, name="tanh"))


def network(name: str, depth: int, width: int) -> Workload:
    """``depth`` dense layers, all but the last ``width`` wide and with a tanh.

    With the initial weights of Glorot and Bengio (2010) values and gradients keep their
    size over a hundred such layers.
    """
    net = Builder(name)
    x = net.input("image", "NF", (784,))
    x = net.add(Dense(width), x, name="first")
    x = net.add(Tanh(), x, name="tanh")
    if depth > 2:
        x = net.call(_layer(), x, name="layers", times=depth - 2, width=width)
    x = net.add(Dense(10), x, name="last")
    return Workload(
        name,
        f"{depth} dense layers, {width} wide, on MNIST",
        net.graph(x),
        Recipe(
            SoftmaxCrossEntropy(),
            SGD(0.01),
            batch_size=128,
            epochs=1,
        ),
        DIGITS,
    )


def workload(name: str, size: int) -> Workload:
    """``mnist-depth-16``, ``mnist-width-512``; raises ``UserError`` for no network."""
    least = 2 if name == "mnist-depth" else 1
    if size < least:
        raise UserError(f"{name}-{size}: at least {least} is needed.")
    depth, width = (size, WIDTH) if name == "mnist-depth" else (DEPTH, size)
    return network(f"{name}-{size}", depth, width)
