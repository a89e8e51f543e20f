"""Keras models on every engine: recorded, read, and judged by the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from frontends.judged import judge
from frontends.models.keras_examples import example
from netglot import backends, frontends, ops
from netglot.check.sides import Elsewhere, Side, SideError, framework_for
from netglot.runtime import envs
from netglot.runtime.jobs import Worker

pytestmark = pytest.mark.framework

MODELS = Path(__file__).parent / "models" / "keras_small.py"
ENGINES = [
    pytest.param(engine, marks=pytest.mark.xdist_group(f"keras-{engine}"))
    for engine in ("tensorflow", "jax", "torch")
]
#: What an engine computes in float32, or with numbers in float32, even in float64.
ROUNDED = {
    "tensorflow": (ops.Scale, ops.LeakyRelu, ops.Gelu),
    "jax": (ops.MultiHeadAttention,),
    "torch": (),
}

Open = Callable[..., Side]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    """One worker per engine."""
    started: dict[str, Worker] = {}
    yield started
    for worker in started.values():
        worker.close()


@pytest.fixture
def opened(workers: dict[str, Worker], tmp_path: Path) -> Open:
    """A model of the file in a precision, on an engine."""

    def open_model(engine: str, name: str, dtype: str = "float32") -> Side:
        backend = backends.get(f"keras-{engine}")
        if engine not in workers or not workers[engine].alive:
            environment = envs.prepare(backend.env, backend.name)
            workers[engine] = Worker.start_for(
                backend.env, environment, log=tmp_path / "worker.log", threads=1
            )
        asked = Elsewhere(workers[engine], "left")
        answer = asked.ask("open_file", path=str(MODELS), name=name, dtype=dtype)
        folder = tmp_path / f"{engine}-{answer['number']}"
        return Side.opened("left", name, asked, answer, folder)

    return open_model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["image", "first", "words", "series", "net", "attentive", "volume", "odd"]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_layers(engine: str, name: str, dtype: str, opened: Open) -> None:
    """Every operation gives what its layer gave; weights go both ways."""
    if (engine, name) == ("tensorflow", "first"):
        pytest.skip("TensorFlow convolves channels first on no CPU")
    if (engine, name, dtype) == ("tensorflow", "volume", "float64"):
        pytest.skip("TensorFlow has no pooling in three dimensions in float64")
    if engine == "jax" and (dtype == "float32") != (name in ("image", "words")):
        pytest.skip("JAX compiles every operation: one precision is enough")
    side = opened(engine, name, dtype)
    assert side.framework == "keras"
    assert side.version.endswith(f"on {engine}")
    reading = side.record(example(name), draw(side, example(name), dtype))
    assert not [f"{layer}: {layer.why}" for layer in reading.layers if not layer.op]
    judge(reading, {"float32": 1e-5, "float64": 1e-10}[dtype], ROUNDED[engine])
    if name == "image":
        assert any("keras_small.py line" in layer.made for layer in reading.layers)


def draw(side: Side, inputs: list[np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Weights that are no zeros and ones; a model may have none before it has run."""
    shapes = side.weights
    if not shapes:
        reading = side.record(inputs)
        shapes = {p: a.shape for p, a in reading.recording.weights().items()}
    rng = np.random.default_rng(3)
    return {
        path: rng.uniform(0.2, 0.6, shape).astype(dtype)
        if "variance" in path
        else rng.normal(0, 0.3, shape).astype(dtype)
        for path, shape in shapes.items()
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_training(engine: str, opened: Open) -> None:
    """Statistics are those of the batch, nothing is dropped, gradients are there."""
    side = opened(engine, "image", "float64")
    before = draw(side, example("image"), "float64")
    reading = side.record(example("image"), before, training=True)
    judge(reading, 1e-10, ROUNDED[engine])
    norms = [layer for layer in reading.layers if "BatchNorm" in layer.kind]
    assert all(layer.training for layer in norms)
    own = reading.recording.weights()
    gradients = reading.recording.gradients()
    moving = {path for path in own if "moving" in path}
    assert gradients.keys() == own.keys() - moving
    assert all(np.abs(gradients[path]).max() > 0 for path in gradients)
    (mean,) = (path for path in moving if path.endswith("mean"))
    value = reading.value(norms[0].inputs[0])
    assert value is not None
    expected = 0.8 * before[mean] + 0.2 * value.mean((0, 2, 3))
    np.testing.assert_allclose(own[mean], expected, rtol=1e-9)


def test_engines_agree_on_gradients(opened: Open) -> None:
    """Each takes them by means of its own."""
    found = []
    for engine in ("tensorflow", "jax", "torch"):
        side = opened(engine, "series", "float64")
        weights = draw(side, example("series"), "float64")
        # The names that Keras counts up differ from worker to worker.
        reading = side.record(example("series"), weights, training=True)
        gradients = reading.recording.gradients()
        found.append([gradients[path] for path in weights])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_count(engine: str, opened: Open) -> None:
    side = opened(engine, "net")
    inputs = example("net")
    reading = side.record(inputs)
    own = reading.recording.weights()
    again = side.record(inputs, {path: a + 0.5 for path, a in own.items()})
    output = reading.outputs[0]
    assert np.abs(reading.value(output) - again.value(again.outputs[0])).max() > 1e-3
    # A model that has not run yet has no weights: these wait for it.
    fresh = opened(engine, "net")
    paths = dict(zip(own, own.values(), strict=True))
    assert not fresh.weights
    number = fresh.record(inputs).recording.weights()
    given = dict(zip(number, paths.values(), strict=True))
    same = fresh.record(inputs, given)
    np.testing.assert_allclose(
        same.value(same.outputs[0]), reading.value(output), atol=1e-6
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_raises(engine: str, opened: Open) -> None:
    side = opened(engine, "broken")
    with pytest.raises(SideError) as raised:
        side.record(example("broken"))
    text = str(raised.value)
    assert "no such thing as a second layer" in text
    assert "keras_small.py" in text
    assert "(keras.layers.Dense)" in text.splitlines()[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_functions_of_the_engine(engine: str, opened: Open) -> None:
    """They are not read, but what stands around them is."""
    reading = opened(engine, "foreign").record(example("foreign"))
    kinds = [layer.op and type(layer.op).__name__ for layer in reading.layers]
    assert kinds == ["Dense", None, "Dense"]
    judge(reading, 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_by_a_function(engine: str, opened: Open) -> None:
    """It is active in evaluation; in training nothing is dropped, as of layers."""
    x = np.ones((5, 40))
    side = opened(engine, "dropping")
    reading = side.record([x])
    assert [layer.op for layer in reading.layers][:1] == [ops.Dropout(0.25)]
    dropped = reading.value(reading.layers[0].outputs[0])
    assert dropped is not None and 0 < (dropped == 0).mean() < 1
    trained = side.record([x], training=True)
    np.testing.assert_array_equal(trained.value(trained.layers[0].outputs[0]), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps(engine: str, opened: Open) -> None:
    """The model's own optimizer and loss, as ``train_on_batch`` uses them."""
    side = opened(engine, "trained", "float64")
    assert side.trains
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8, 5)), rng.integers(0, 3, (2, 8))
    folder, answer = side.steps({"x": x, "y": y}, draw(side, [x[0]], "float64"))
    assert answer["optimizer"]["kind"] == "keras.optimizers.SGD"
    assert answer["optimizer"]["attributes"]["momentum"] == pytest.approx(0.9)
    steps = [dict(np.load(folder / f"step_{i}.npz")) for i in range(3)]
    gradients = [dict(np.load(folder / f"gradients_{i}.npz")) for i in (1, 2)]
    kernel = next(path for path in gradients[0] if path.endswith("kernel"))
    velocity = -0.1 * gradients[0][kernel]
    np.testing.assert_allclose(
        steps[1][kernel] - steps[0][kernel], velocity, rtol=1e-6, atol=1e-9
    )
    velocity = 0.9 * velocity - 0.1 * gradients[1][kernel]
    np.testing.assert_allclose(
        steps[2][kernel] - steps[1][kernel], velocity, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_further_layers(engine: str, opened: Open) -> None:
    """Shared layers, several inputs and outputs, weights in functions, masks."""
    rng = np.random.default_rng(1)
    pair = [rng.normal(size=(3, 4)), rng.normal(size=(3, 4))]
    shared = opened(engine, "shared").record(pair)
    assert len(shared.inputs) == len(shared.outputs) == 2
    assert [type(layer.op) for layer in shared.layers].count(ops.Dense) == 3
    judge(shared, 1e-5)
    mixed = opened(engine, "mixed").record([pair[0], rng.integers(0, 9, (3, 4))])
    assert not [layer.why for layer in mixed.layers if not layer.op]
    judge(mixed, 1e-5)
    masked = opened(engine, "masked").record([rng.integers(0, 30, (3, 6))])
    assert [layer.why for layer in masked.layers if layer.name == "masked"] == [
        "a mask"
    ]
    judge(masked, 1e-5)


def test_engine_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "theirs.py"
    path.write_text('import os\nos.environ["KERAS_BACKEND"] = "jax"\nimport keras\n')
    assert framework_for(path) == "keras-jax"
    assert frontends.get("keras").name == "keras"
