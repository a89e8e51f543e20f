"""The grid of a check: values by frameworks, in units of float32's own error."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from netglot import ops
from netglot.check.backward import Moved
from netglot.check.causes import Compared, Finding, Judged
from netglot.check.compare import Difference
from netglot.check.gate import Verdict
from netglot.check.matching import Match
from netglot.check.models import Described, ModelReport
from netglot.check.programs import Checked, Report
from netglot.check.training import Learned
from netglot.check.updates import Ruled
from netglot.frontends.reading import Layer
from netglot.report import figures, heat

pytestmark = pytest.mark.text

ROUNDING = {"conv1": 1e-7, "relu1": 2e-7, "fc": 0.0}


def _checked(title: str, *sizes: float) -> Checked:
    found = [
        Difference(f"output of {name}{twin}", size, 1e-5)
        for twin in ("", " (float64)")
        for name, size in zip(ROUNDING, sizes, strict=True)
    ]
    found.append(Difference("all weights after step 1", 1.0, 1e-4))
    status = "equal" if max(sizes) < 1e-5 else "different"
    verdict = Verdict(status == "equal", tuple(found))
    return Checked(title.lower(), title, "1.0", status, "", verdict)


@pytest.fixture
def report() -> Report:
    return Report(
        "net",
        {"name": "digits"},
        10,
        32,
        (
            _checked("Right", 2e-7, 2e-7, 0.0),
            _checked("Wrong", 1e-7, 0.2, math.inf),
            Checked("gone", "Gone", "", "lacking", "no environment"),
        ),
        ROUNDING,
    )


def test_units(report: Report) -> None:
    found = heat.grid(report)
    assert found.columns == ("Right", "Wrong") and found.rows == tuple(ROUNDING)
    assert found.cells[0] == (pytest.approx(2), pytest.approx(1))
    assert found.cells[1] == (pytest.approx(1), pytest.approx(1e6))
    # Where float32 makes no error, half a step of it is the unit.
    assert found.cells[2] == (0.0, math.inf)


def test_colours() -> None:
    assert heat.share(1.0) == 0 and heat.share(math.inf) == heat.share(1e9) == 1
    assert 0.3 < heat.share(1e3) < 0.6
    assert [heat.word(u) for u in (0.04, 3.14, 2e5, math.inf)] == [
        "0.0",
        "3.1",
        "2e5",
        "∞",
    ]


def test_files(report: Report, tmp_path: Path) -> None:
    page = heat.write(report, tmp_path / "out").read_text()
    assert (tmp_path / "out/heat.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "out/check.json").read_text())
    assert content["rounding"] == ROUNDING
    assert page.count("<td style=") == 6 and "<dl" not in page and "relu1" in page
    assert "no environment" in page and "embedded digits" in page
    light = heat.draw(heat.grid(report), "a title")
    assert light != heat.draw(heat.grid(report), "a title", figures.DARK)


def test_a_value_that_a_program_does_not_give(report: Report) -> None:
    right, wrong, gone = report.checked
    assert right.verdict is not None
    fewer = dataclasses.replace(
        right.verdict, differences=right.verdict.differences[1:]
    )
    right = dataclasses.replace(right, verdict=fewer)
    found = heat.grid(dataclasses.replace(report, checked=(right, wrong, gone)))
    assert found.cells[0][0] == heat.MISSING and found.marks == {heat.MISSING: "a"}


def _layer(name: str) -> Layer:
    return Layer(name, ops.Relu(), ("x",), ("y",), "ReLU")


def _compared(*layers: Judged, finding: Finding | None = None) -> Compared:
    match = Match((), (), ())
    return Compared((finding,) if finding else (), (), layers, (), match, 0.0)


@pytest.fixture
def pair() -> ModelReport:
    """Two models that agree, trained for three steps."""
    inside = Judged("relu", "", why="only on the left")
    norm = Judged("norm", "norm2", 3e-10, 1e-9)
    fc = Judged("fc", "fc", 1e-10, 1e-9)
    evaluated, trained = _compared(inside, norm, fc), _compared(norm, inside, fc)
    passed = (
        Moved(
            "running variance", _layer("norm"), _layer("norm2"), 1.0, 1e-9, "b", True
        ),
        Moved("gradient of the kernel", _layer("fc"), _layer("fc"), 2e-9, 1e-8),
    )
    learned = Learned(
        ((1.0, 1.0), (0.5, 0.5), (0.2, 0.2)),
        ("", ""),
        True,
        Ruled(1e-9, 1e-8),
        1e-8,
        True,
        {"fc": (1e-9, 3e-9, 1e-8)},
    )
    one, two = (Described(f"{n}.py:Net", n, "1", 3) for n in ("pytorch", "flax"))
    return ModelReport(one, two, evaluated, trained, passed, learned)


def test_two_models(pair: ModelReport) -> None:
    found = heat.pair_grid(pair)
    assert pair.same and found.pale == 1
    assert found.rows == ("relu / –", "norm / norm2", "fc", "the loss", "the optimizer")
    cells = [dict(zip(found.columns, line, strict=True)) for line in found.cells]
    relu, norm, fc, loss, optimizer = cells
    assert relu["evaluation"] == relu["training"] == "only on the left"
    assert norm["training"] == pytest.approx(0.3)
    # What is excused has no number, whatever its size.
    assert norm["running variance"] == "b: the frameworks' own forms"
    assert fc["gradient of the kernel"] == pytest.approx(0.2)
    assert norm["gradient of the kernel"] == heat.NOTHING
    assert fc["after 1 step"] == pytest.approx(0.01)
    assert fc["after 3 steps"] == pytest.approx(0.1)
    assert loss["after 1 step"] == 0 and optimizer["after 3 steps"] == pytest.approx(
        0.1
    )
    assert all(
        found.share(cell) == 0
        for line in found.cells
        for cell in line
        if cell != str(cell)
    )
    assert found.marks == {
        "only on the left": "a",
        "b: the frameworks' own forms": "b",
        heat.NOTHING: "·",
    }


def test_what_follows_from_a_difference_is_not_judged(pair: ModelReport) -> None:
    norm = Finding(_layer("norm"), _layer("norm2"), 2, 3, 1e-3, 1e-9)
    layers = (Judged("norm", "norm2", 1e-3, 1e-9), Judged("fc", "fc", 0.0, 1e-9))
    found = heat.pair_grid(
        dataclasses.replace(
            pair, evaluated=_compared(*layers, finding=norm), passed=pair.passed[:1]
        )
    )
    row = dict(
        zip(found.columns, found.cells[found.rows.index("norm / norm2")], strict=True)
    )
    assert row["evaluation"] == pytest.approx(1e6) and found.share(1e6) > 0.9
    assert row["gradients"] == heat.FOLLOWS
    row = dict(zip(found.columns, found.cells[found.rows.index("fc")], strict=True))
    assert row["after 3 steps"] == heat.FOLLOWS


def test_a_wrong_loss_is_a_row(pair: ModelReport) -> None:
    assert pair.learned is not None
    learned = dataclasses.replace(pair.learned, losses=((1.0, 8.0),), alike=False)
    found = heat.pair_grid(dataclasses.replace(pair, learned=learned))
    loss, fc = (found.cells[found.rows.index(name)][-1] for name in ("the loss", "fc"))
    assert loss == pytest.approx(7e9) and fc == heat.STEPPED


def test_files_of_two_models(pair: ModelReport, tmp_path: Path) -> None:
    page = heat.write(pair, tmp_path).read_text()
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    assert "THE SAME" in page and "norm / norm2" in page
    assert '<td class="none" title="only on the left">a</td>' in page
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["layers"][0]["not judged"] == "only on the left"
    assert content["layers"][1]["difference"] == 3e-10
    assert content["layers in training"][0]["allowed"] == 1e-9
    assert (
        content["training"][1]["difference"] == 2e-9 and content["training"][1]["same"]
    )
    assert content["steps"]["weights by layer"] == {"fc": [1e-9, 3e-9, 1e-8]}
    assert content["steps"]["first loss"] == {"difference": 0.0, "allowed": 1e-9}
