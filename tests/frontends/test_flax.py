"""Models of Flax and JAX: recorded, read, and judged by the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from frontends.judged import judge
from netglot import backends
from netglot.check.sides import Elsewhere, Side, SideError, framework_for
from netglot.runtime import envs
from netglot.runtime.jobs import Worker

pytestmark = [pytest.mark.framework, pytest.mark.xdist_group("flax")]

MODELS = Path(__file__).parent / "models"
#: Model -> its file, and the shape of its input or (shape, vocabulary).
EXAMPLES = {
    "convolutional": ("flax_nnx.py", (2, 13, 15, 3), 0),
    "residual": ("flax_nnx.py", (2, 15, 16, 5), 0),
    "recurrent": ("flax_nnx.py", (3, 6), 30),
    "attentive": ("flax_nnx.py", (2, 7), 40),
    "functions": ("flax_nnx.py", (2, 5, 6, 6), 0),
    "linen": ("flax_linen.py", (2, 13, 15, 3), 0),
    "sequences": ("flax_linen.py", (2, 6), 20),
    "plain": ("flax_linen.py", (3, 6), 0),
    "lax": ("flax_linen.py", (2, 9, 8, 3), 0),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

Open = Callable[..., Side]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    """One worker per precision: JAX has one for all that a process does."""
    started: dict[str, Worker] = {}
    yield started
    for worker in started.values():
        worker.close()


@pytest.fixture
def opened(workers: dict[str, Worker], tmp_path: Path) -> Open:
    """A model of a file in a precision."""

    def open_model(file: str, name: str, dtype: str = "float32") -> Side:
        if dtype not in workers or not workers[dtype].alive:
            backend = backends.get("flax")
            environment = envs.prepare(backend.env, backend.name)
            workers[dtype] = Worker.start_for(
                backend.env, environment, log=tmp_path / "worker.log", threads=1
            )
        asked = Elsewhere(workers[dtype], "left")
        path = str(MODELS / file)
        answer = asked.ask("open_file", path=path, name=name, dtype=dtype)
        folder = tmp_path / f"{name}-{answer['number']}"
        return Side.opened("left", name, asked, answer, folder)

    return open_model


def example(name: str) -> list[np.ndarray]:
    """An input for a model."""
    _, shape, vocabulary = EXAMPLES[name]
    rng = np.random.default_rng(0)
    if vocabulary:
        return [rng.integers(0, vocabulary, shape)]
    return [rng.normal(size=shape)]


def draw(side: Side) -> dict[str, np.ndarray]:
    """Weights that are no zeros and ones."""
    rng = np.random.default_rng(3)
    return {
        path: rng.uniform(0.2, 0.6, shape)
        if path.endswith("var")
        else rng.normal(0, 0.3, shape)
        for path, shape in side.weights.items()
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_layers(name: str, dtype: str, opened: Open) -> None:
    """Every operation gives what its layer gave; weights go both ways."""
    side = opened(EXAMPLES[name][0], name, dtype)
    assert side.framework == "flax"
    reading = side.record(example(name), draw(side))
    assert not [f"{layer}: {layer.why}" for layer in reading.layers if not layer.op]
    judge(reading, TOLERANCE[dtype])
    assert all(layer.source for layer in reading.layers)
    held = {w.path for layer in reading.layers for w in layer.weights}
    assert held == set(side.weights)


@pytest.mark.parametrize("name", ["convolutional", "linen", "attentive", "sequences"])
def test_training(name: str, opened: Open) -> None:
    """Statistics are those of the batch, nothing is dropped, gradients are there."""
    side = opened(EXAMPLES[name][0], name, "float64")
    before = draw(side)
    reading = side.record(example(name), before, training=True)
    assert not [layer.why for layer in reading.layers if not layer.op]
    judge(reading, 1e-10)
    norms = [layer for layer in reading.layers if "BatchNorm" in layer.kind]
    assert all(layer.training for layer in norms)
    own, gradients = reading.recording.weights(), reading.recording.gradients()
    moving = {path for path in own if path.endswith((".mean", ".var"))}
    assert gradients.keys() == own.keys() - moving
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    if moving:
        (mean,) = (path for path in moving if path.endswith("mean"))
        value = reading.value(norms[0].inputs[0])
        assert value is not None
        momentum = norms[0].op.momentum  # type: ignore[union-attr]
        new = momentum * before[mean] + (1 - momentum) * value.mean((0, 2, 3))
        np.testing.assert_allclose(own[mean], new, rtol=1e-9)


def test_gradients(opened: Open) -> None:
    """Gradients are those of the sum of sin(y) + y * y / 2, by finite differences."""
    side = opened("flax_linen.py", "plain", "float64")
    weights = draw(side)
    found = side.record(example("plain"), weights, training=True).recording.gradients()

    def total(weights: dict[str, np.ndarray]) -> float:
        reading = side.record(example("plain"), weights)
        y = reading.recording.array(reading.outputs[0])
        return float((np.sin(y) + y * y / 2).sum())

    moved = {path: array.copy() for path, array in weights.items()}
    moved["last"][1, 2] += 1e-5
    slope = (total(moved) - total(weights)) / 1e-5
    assert slope == pytest.approx(found["last"][1, 2], rel=1e-4)


def test_weights_are_set(opened: Open) -> None:
    """Other weights give other values; the same ones the same."""
    side = opened("flax_nnx.py", "convolutional")

    def scores(weights: dict[str, np.ndarray]) -> np.ndarray:
        reading = side.record(example("convolutional"), weights)
        return reading.recording.array(reading.outputs[0])

    first, weights = scores(draw(side)), draw(side)
    weights["dense2.kernel"] += 0.1 * np.arange(4)
    assert np.abs(first - scores(weights)).max() > 1e-3
    np.testing.assert_array_equal(first, scores(draw(side)))


def test_lines(opened: Open) -> None:
    """Where a layer was made and called, and functions inside of blocks."""
    reading = opened("flax_nnx.py", "residual").record(example("residual"))
    layers = {layer.name: layer for layer in reading.layers}
    text = (MODELS / "flax_nnx.py").read_text().splitlines()

    def line(place: str) -> str:
        file, _, number = place.partition(" line ")
        assert file == "flax_nnx.py"
        return text[int(number) - 1]

    conv = layers["blocks.layers.1.conv"]
    assert "nnx.Conv(width, width" in line(conv.made)
    assert "self.norm(self.conv(x))" in line(conv.source)
    assert "y * scale" in line(layers["blocks.layers.1.mul"].source)


@pytest.mark.parametrize("name", ["convolutional", "linen", "plain"])
def test_steps(name: str, opened: Open) -> None:
    """The model's own optimizer moves its weights; its settings are told."""
    side = opened(EXAMPLES[name][0], name, "float64")
    assert side.trains
    (x,) = example(name)
    y = np.random.default_rng(1).normal(size=(2, len(x), 4 if x.ndim == 4 else 3))
    if name == "convolutional":
        y = np.array([[1, 3], [0, 2]])
    folder, answer = side.steps({"x": np.stack([x, x + 0.1]), "y": y}, draw(side))
    assert len(answer["losses"]) == 2
    described = answer["optimizer"]["attributes"]
    expected = {"convolutional": ("b1", 0.9), "plain": ("b1", 0.9)}
    key, value = expected.get(name, ("decay", 0.9))
    assert described[key] == value
    states = [dict(np.load(folder / f"step_{i}.npz")) for i in range(3)]
    gradients = dict(np.load(folder / "gradients_1.npz"))
    assert gradients.keys() <= states[0].keys()
    for before, after in itertools.pairwise(states):
        assert all(np.abs(before[path] - after[path]).max() > 0 for path in before)
    if name == "linen":
        for path, gradient in gradients.items():
            moved = states[0][path] - 0.1 * gradient
            np.testing.assert_allclose(states[1][path], moved, atol=1e-12)


def test_failure(opened: Open) -> None:
    """A model that raises: its own traceback and the last layer that it ran."""
    side = opened("flax_nnx.py", "Broken")
    with pytest.raises(SideError) as caught:
        side.record([np.ones((2, 4))])
    message = str(caught.value)
    assert "after first (flax.nnx.Linear)" in message
    assert "return self.second(self.first(x))" in message
    assert "/watch/" not in message


def test_unbound(opened: Open) -> None:
    """A Linen module alone has no weights."""
    with pytest.raises(SideError, match=r"give module\.bind\(variables\)"):
        opened("flax_linen.py", "unbound")


def test_unknown(opened: Open) -> None:
    """What is no operation says why; what comes after it is read all the same."""
    side = opened("flax_nnx.py", "unusual")
    reading = side.record([np.ones((2, 5, 6))])
    why = {layer.kind: layer.why for layer in reading.layers if not layer.op}
    assert why["flax.nnx.Conv"] == "flax.nnx.Conv: padding CIRCULAR"
    assert why["flax.nnx.PReLU"] == "flax.nnx.PReLU is not known"
    assert why["jax.add"] == "arithmetic with a weight"
    assert reading.layers[-1].kind == "flax.nnx.Linear"
    assert reading.layers[-1].op is not None


def test_compiled_inside(opened: Open) -> None:
    """Parts that the model compiles itself are seen, in every run anew."""
    side = opened("flax_nnx.py", "compiled")
    for _ in range(2):
        reading = side.record([np.ones((2, 4))])
        assert [layer.name for layer in reading.layers] == ["inner", "relu", "outer"]
        judge(reading, 1e-5)


def test_framework() -> None:
    """Both files need the environment of Flax."""
    assert framework_for(MODELS / "flax_nnx.py") == "flax"
    assert framework_for(MODELS / "flax_linen.py") == "flax"
