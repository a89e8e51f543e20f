"""Networks that grow, and what is reported of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netglot import workloads
from netglot.cli import run as netglot
from netglot.errors import UserError
from netglot.ops import Dense


@pytest.mark.text
@pytest.mark.parametrize(
    ("name", "layers", "widest"),
    [
        ("mnist-depth-2", 2, 128),
        ("mnist-depth-3", 3, 128),
        ("mnist-depth-128", 128, 128),
        ("mnist-width-1", 4, 10),
        ("mnist-width-300", 4, 300),
    ],
)
def test_networks(name: str, layers: int, widest: int) -> None:
    graph = workloads.get(name).graph.flat()
    dense = [node.op for node in graph.nodes if isinstance(node.op, Dense)]
    assert len(dense) == layers and max(op.features for op in dense) == widest


@pytest.mark.text
def test_no_network() -> None:
    with pytest.raises(UserError, match="at least 2"):
        workloads.get("mnist-depth-1")
    with pytest.raises(UserError, match="no workload"):
        workloads.get("mnist-height-4")


@pytest.mark.text
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grow", "depth", "--sizes", "2,x"], "whole numbers"),
        (["--grow", "depth", "--sizes", "1"], "at least 2"),
        (["--sizes", "2", "mnist-fcn"], "--grow"),
        (["--grow", "width", "mnist-fcn"], "--grow"),
        ([], "Name a workload"),
    ],
)
def test_misuse(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert netglot(["race", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.framework
def test_a_series_of_races(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grow"
    asked = ["--grow", "depth", "--sizes", "2,6", "--on", "numpy", "--limit", "512"]
    assert netglot(["race", *asked, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "steady step (ms)" in shown and "NumPy" in shown
    found = json.loads((out / "report.json").read_text())
    steps = found["frameworks"]["numpy"]["step_ms"]
    assert steps.keys() == {"2", "6"} and min(steps.values()) > 0
    assert (out / "growth.png").read_bytes().startswith(b"\x89PNG")
    # Nothing is run again, and the same is told.
    before = {p: p.stat().st_mtime_ns for p in out.rglob("records/*.json")}
    assert netglot(["race", "--resume", str(out)]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("records/*.json")}
    assert json.loads((out / "report.json").read_text()) == found
