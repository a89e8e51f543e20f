"""The grid of a check: values by frameworks, in units of float32's own error."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from netglot.check.compare import Difference
from netglot.check.gate import Verdict
from netglot.check.programs import Checked, Report
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
    assert page.count("<td style=") == 6 and "relu1" in page
    assert "no environment" in page and "embedded digits" in page
    light = heat.draw(heat.grid(report), "a title")
    assert light != heat.draw(heat.grid(report), "a title", figures.DARK)
