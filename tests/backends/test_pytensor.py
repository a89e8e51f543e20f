"""What is peculiar to PyTensor: other names than Theano's, and what it left behind."""

from __future__ import annotations

import re

import pytest

from cases import CASES, ROW, Case, _chain
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import Dense, Dropout, Elu, Selu
from netglot.recipe import SGD, MeanSquaredError, Recipe
from netglot.workloads import Workload

pytestmark = pytest.mark.text

BACKEND = backends.get("pytensor")


def _source(case: Case) -> str:
    recipe = Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    return emit(
        Workload(case.name, case.name, case.graph, recipe, data), BACKEND
    ).source


def test_nothing_is_left_of_theano() -> None:
    said = 0
    for case in CASES.values():
        try:
            source = _source(case)
        except GapError:
            continue
        said += 1
        assert not re.search(r"theano|\bT\.|MRG|addbroadcast", source), case.name
    assert said > 80


def test_convolution_is_gone() -> None:
    with pytest.raises(GapError, match="has no convolution of channels"):
        emit(workloads.get("mnist-cnn"), BACKEND)


def test_the_state_of_the_noise_is_updated() -> None:
    source = _source(_chain("noise", ROW, Dense(3), Dropout(0.3)))
    assert "rngs = [pt.random.shared_rng(seed=seed)]" in source
    assert "updates.append((rngs[0], rngs[-1]))" in source
    # An integer times a float32 would be a float64.
    assert "return pt.where(kept, x / (1 - rate), 0)" in source


def test_activations_that_it_does_not_have_are_written_out() -> None:
    source = _source(_chain("elu", ROW, Dense(3), Elu(0.7), Selu()))
    assert "def elu(x, alpha=1.0):" in source and "def selu(x):" in source


def test_pieces_are_not_counted() -> None:
    source = _source(CASES["split-outputs"])
    assert re.search(r"pt\.split\(.*, \[2, 4\], axis=1\)", source)


def test_scan_gives_its_states_alone() -> None:
    """That it gives updates too is about to end."""
    one, two = _source(CASES["gru"]), _source(CASES["lstm"])
    assert "    states = pytensor.scan(" in one
    assert "    states, _ = pytensor.scan(" in two
    assert all("        return_updates=False,\n    )\n" in text for text in (one, two))


def test_it_is_compiled_to_c() -> None:
    flags = BACKEND.env.variables["PYTENSOR_FLAGS"]
    assert "linker=cvm" in flags and "-lopenblas" in flags
