"""The dictionary of defaults: what is stored, how it is shown, and that it is true."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from netglot import ops
from netglot.cli import run
from netglot.defaults import run as reading
from netglot.defaults import table
from netglot.defaults.rows import ROWS
from netglot.defaults.table import Fact
from netglot.runtime import envs


@pytest.fixture(scope="module")
def tables() -> dict[str, table.Table]:
    return table.load()


@pytest.fixture(scope="module")
def solving() -> ModuleType:
    """The helpers of the probes, which are no part of the package when they run."""
    spec = importlib.util.spec_from_file_location(
        "solving", reading.FOLDER / "solving.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- What is stored -------------------------------------------------------------------


@pytest.mark.text
def test_every_framework_has_every_row(tables: dict[str, table.Table]) -> None:
    assert set(tables) == set(reading.PROBES)
    assert len(ROWS) >= 20
    for name, one in tables.items():
        assert set(one.facts) == set(ROWS), name
        for operation, rows in ROWS.items():
            assert list(one.facts[operation]) == list(rows), (name, operation)


@pytest.mark.text
def test_every_fact_says_whence_it_is(tables: dict[str, table.Table]) -> None:
    for name, one in tables.items():
        assert one.versions and one.date
        for operation, facts in one.facts.items():
            for key, fact in facts.items():
                where = (name, operation, key)
                if fact.value is None:
                    assert fact.source is None and fact.reason, where
                    assert "probe" not in fact.reason, (*where, fact.reason)
                else:
                    assert fact.source in ("executed", "signature"), where
                    assert fact.how and not fact.reason, where
                    assert one.called[operation], where


@pytest.mark.text
def test_well_known_defaults(tables: dict[str, table.Table]) -> None:
    """Figures of the frameworks' own documentation, in netglot's meaning."""

    def value(name: str, operation: str, key: str) -> Any:
        return tables[name].facts[operation][key].value

    assert value("pytorch", "BatchNorm", "momentum") == 0.9
    assert value("pytorch", "BatchNorm", "unbiased") is True
    assert value("keras-jax", "BatchNorm", "epsilon") == 1e-3
    assert value("flax", "BatchNorm", "momentum") == 0.99
    assert value("keras-torch", "LSTM", "forget_bias") == 1
    assert value("keras-tensorflow", "GRU", "gates") == "zrn"
    assert value("flax", "Gelu", "approximate") is True
    assert value("tensorflow", "LeakyRelu", "slope") == 0.2
    assert value("pytorch", "AdamW", "weight_decay") == 0.01
    assert value("flax", "AdamW", "weight_decay") == 1e-4
    assert value("tensorflow", "Adam", "epsilon_form") == "before"
    assert value("pytorch", "Adam", "epsilon_form") == "after"


@pytest.mark.text
def test_attributes_have_the_names_of_the_operations() -> None:
    """What ops.py calls epsilon is not called eps here."""
    norms = ("BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm")
    others = ("MaxPool", "AvgPool", "Gelu", "LeakyRelu", "Elu", "Softmax")
    for name in norms + others:
        known = {field.name for field in dataclasses.fields(ops.OPERATIONS[name])}
        # Which of equal values has the gradient is nobody's argument.
        assert known - {"ties"} <= set(ROWS[name]), name


@pytest.mark.text
def test_saved_tables_are_read_back(
    tmp_path: Path, tables: dict[str, table.Table]
) -> None:
    path = tmp_path / "defaults.json"
    table.save({"flax": tables["flax"]}, path)
    table.update({"pytorch": tables["pytorch"]}, path)
    assert table.load(path) == {n: tables[n] for n in ("flax", "pytorch")}


@pytest.mark.text
def test_differences_bite(tables: dict[str, table.Table]) -> None:
    found = table.differences(tables["pytorch"], tables["keras-jax"])
    named = {(d.operation, d.attribute): (d.first.value, d.second.value) for d in found}
    assert named["BatchNorm", "epsilon"] == (1e-5, 1e-3)
    assert ("Dropout", "switch") not in named
    for difference in found:
        assert None not in (difference.first.value, difference.second.value)
    assert not table.differences(tables["flax"], tables["flax"])


# --- The command line -----------------------------------------------------------------


@pytest.mark.text
def test_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["defaults"]) == 0
    out = capfd.readouterr().out
    assert "BatchNorm" in out and "AdamW" in out and "keras-torch" in out


@pytest.mark.text
@pytest.mark.parametrize("name", ROWS)
def test_one_operation(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["defaults", name.lower()]) == 0
    out = capfd.readouterr().out
    assert name in out and all(key in out for key in ROWS[name])


@pytest.mark.text
def test_a_reason_stands_below_the_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["defaults", "Dense"]) == 0
    assert "tensorflow: TensorFlow without Keras has no" in capfd.readouterr().out


@pytest.mark.text
def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["defaults", "BatchNorm", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["frameworks"]["pytorch"]["facts"]["momentum"]["value"] == 0.9
    assert told["frameworks"]["pytorch"]["facts"]["momentum"]["source"] == "executed"
    assert run(["defaults", "--json"]) == 0
    assert "epsilon" in json.loads(capfd.readouterr().out)["Adam"]


@pytest.mark.text
def test_diff(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["defaults", "--diff", "pytorch", "keras-jax"]) == 0
    out = capfd.readouterr().out
    assert "BatchNorm" in out and "0.001" in out and "switch" not in out
    assert run(["defaults", "--diff", "pytorch", "flax", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["comparable"] > len(told["differences"]) > 20


@pytest.mark.text
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["BatchNrom"], "Did you mean BatchNorm"),
        (["--diff", "pytorch", "kears-jax"], "Did you mean keras-jax"),
        (["--diff", "pytorch", "numpy"], "There is no framework"),
        (["--run", "--on", "pytroch"], "Did you mean pytorch"),
        (["--run", "--on", "numpy"], "There is no framework"),
        (["--on", "pytorch"], "one by one"),
        (["Dense", "--run"], "one by one"),
    ],
)
def test_bad_names(
    words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["defaults", *words]) == 2
    assert says in capfd.readouterr().err


# --- Reading --------------------------------------------------------------------------


@pytest.mark.text
def test_what_was_not_answered_is_told() -> None:
    answers: list[dict[str, Any]] = [
        {"operation": "Dense", "called": None, "reason": "there is none"},
        {
            "operation": "Gelu",
            "called": "gelu",
            "facts": {"approximate": {"value": True, "source": "signature"}},
        },
        {"operation": "Elu", "called": "elu", "facts": {}},
    ]
    facts = reading.table("x", {"x": "1"}, answers, "it crashed").facts
    assert facts["Dense"]["bias"] == Fact(None, None, reason="there is none")
    assert facts["Gelu"]["approximate"].source == "signature"
    assert facts["Elu"]["alpha"].reason == "the probe did not answer"
    assert facts["Adam"]["rate"].reason == "it crashed"


@pytest.mark.text
def test_a_framework_that_fails_hurts_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    for name, text in {
        "read_keras.py": "raise SystemExit('no such module')",
        "read_flax.py": (
            "from answering import write_answers\n"
            "write_answers({'flax': '1'}, [('Elu', 'elu', lambda: {'alpha': 1.0}),"
            "('Gelu', 'gelu', lambda: 1 / 0)], {})"
        ),
        "answering.py": (reading.FOLDER / "answering.py").read_text(),
    }.items():
        (tmp_path / name).write_text(text)
    here = envs.Environment("here", Path(sys.executable), "3", {}, 0.0, 0.0, "")
    found: dict[str, Any] = {
        "pytorch": envs.EnvError("no Python"),
        "flax": here,
        "keras-jax": here,
    }
    monkeypatch.setattr(envs, "prepare_all", lambda *a, **k: found)
    monkeypatch.setattr(reading, "FOLDER", tmp_path)
    answer = reading.read(tuple(found))
    assert set(answer.tables) == {"flax"}
    assert answer.failures["pytorch"] == "no Python"
    assert "no such module" in answer.failures["keras-jax"]
    facts = answer.tables["flax"].facts
    assert facts["Elu"]["alpha"].value == 1.0
    assert "ZeroDivisionError" in facts["Gelu"]["approximate"].reason


@pytest.mark.text
def test_probes_keep_to_old_syntax_and_to_their_framework() -> None:
    for path in reading.FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 7))
        names = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        names += [n.module or "" for n in ast.walk(tree) if type(n) is ast.ImportFrom]
        assert not [name for name in names if name.startswith("netglot")], path


def _adam(epsilon: float, form: str, amsgrad: bool, decay: float) -> Any:
    """An Adam in plain numbers, as the helpers walk it."""

    def walk(
        gradients: list[float],
        start: float = 0.0,
        rate: float = 0.002,
        weight_decay: float = decay,
    ) -> list[float]:
        m = v = top = 0.0
        path = [start]
        for t, g in enumerate(gradients, 1):
            m, v = 0.8 * m + 0.2 * g, 0.98 * v + 0.02 * g * g
            top = max(top, v) if amsgrad else v
            scale = 1 - 0.98**t
            if form == "after":
                below = math.sqrt(top / scale) + epsilon
            elif form == "before":
                below = (math.sqrt(top) + epsilon) / math.sqrt(scale)
            else:
                below = math.sqrt(top / scale + epsilon)
            step = m / (1 - 0.8**t) / below
            path.append(path[-1] - rate * (step + weight_decay * path[-1]))
        return path

    return walk


@pytest.mark.text
@pytest.mark.parametrize(
    ("epsilon", "form"), [(1e-8, "after"), (1e-7, "before"), (1e-12, "inside the root")]
)
def test_adam_is_solved(solving: ModuleType, epsilon: float, form: str) -> None:
    walk = _adam(epsilon, form, amsgrad=False, decay=0.03)
    assert solving.default_rate(walk) == 0.002
    assert solving.adam(walk) == {
        "beta1": 0.8,
        "beta2": 0.98,
        "amsgrad": False,
        "epsilon": pytest.approx(epsilon),
        "epsilon_form": form,
    }
    assert solving.adam_decay(walk) == {"weight_decay": 0.03, "decay_form": "decoupled"}


@pytest.mark.text
def test_distributions_are_named(solving: ModuleType) -> None:
    random = solving.RANDOM

    def named(draw: Any) -> str:
        words: str = solving.distribution(draw, solving.MATRICES, solving.fans)
        return words

    limit = lambda i, o: math.sqrt(6 / (i + o))  # noqa: E731
    assert named(lambda i, o: random.uniform(-limit(i, o), limit(i, o), (i, o))) == (
        "uniform within sqrt(6 / (fan_in + fan_out))"
    )
    assert named(lambda i, o: random.normal(0, math.sqrt(2 / i), (i, o))) == (
        "normal, variance 2 / fan_in"
    )
    assert named(lambda i, o: random.normal(0, 0.05, (i, o))) == (
        "normal, deviation 0.05"
    )
    assert named(lambda i, o: random.uniform(0, 1, (i, o))) == "uniform from 0 to 1"
    with pytest.raises(solving.Unsolved):
        named(lambda i, o: random.exponential(size=(i, o)))


@pytest.mark.framework
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(name))
        for name in ("pytorch", "keras-jax")
    ],
)
def test_the_stored_facts_are_those_of_the_framework(
    name: str, tables: dict[str, table.Table]
) -> None:
    answer = reading.read((name,))
    assert not answer.failures
    fresh = answer.tables[name]
    assert fresh.versions == tables[name].versions
    assert fresh.called == tables[name].called
    assert fresh.facts == tables[name].facts
