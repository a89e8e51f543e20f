"""Races: records, what befalls single runs, going on, ending."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from netglot.backend import Program
from netglot.check import lineup
from netglot.cli import run
from netglot.emit import emit
from netglot.errors import UserError
from netglot.race.engine import _single, race, settings_of
from netglot.race.settings import Settings

pytestmark = pytest.mark.framework

QUICK = ["race", "mnist-fcn", "--on", "numpy", "--limit", "300", "--epochs", "1"]


def _records(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "records").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def _settings(folder: Path, **more: Any) -> Settings:
    given: dict[str, Any] = {"labels": ("numpy",), "limit": 300, "epochs": 1} | more
    return Settings("mnist-fcn", out=folder, **given)


def _watch(*args: Any, **details: Any) -> None:
    pass


def test_a_limit_that_leaves_a_class_out_is_named(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(10), 60)
    images = np.zeros((600, 28, 28), np.uint8)
    file = tmp_path / "sorted.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(UserError, match=r"--limit 300 leaves no training .* class 5"):
        race(_settings(tmp_path / "race", data=file), _watch)


def test_a_race_and_its_records(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "race"
    assert run([*QUICK, "--repeats", "2", "--json", "--out", str(folder)]) == 0
    said = json.loads(capfd.readouterr().out)
    first, second = _records(folder)
    assert [record["repeat"] for record in (first, second)] == [0, 1]
    assert first["status"] == "done" and first["equal"]["equal"]
    assert first["data"]["name"] == "digits"
    # 300 observations make two batches of 128.
    assert first["steps"] == 2 and len(first["losses"]) == 2
    # The same start, the same order; dropout differs by nothing either: one seed.
    assert first["losses"] == second["losses"]
    phases = first["phases"]
    for name in ("import_framework", "build", "first_step", "steps", "evaluate"):
        assert phases[name] > 0, name
    assert first["train_seconds"] == pytest.approx(
        phases["first_step"] + phases["steps"] + phases["barrier"], rel=0.01
    )
    assert sum(map(sum, first["confusion"])) == 297
    hits = sum(first["confusion"][i][i] for i in range(10))
    assert hits / 297 == pytest.approx(first["score"])
    program = folder / "programs" / first["program"]["name"]
    assert program.is_file()
    assert first["environment"]["versions"]
    assert [r["backend"] for r in said["runs"]] == ["numpy", "numpy"]
    for name in (
        "accuracy",
        "seconds",
        "steps",
        "step_ms",
        "losses",
        "equal",
        "record",
    ):
        assert name in said["runs"][0], name
    for name in ("report.md", "report.csv", "report.html", "loss.png", "phases.png"):
        assert (folder / name).stat().st_size > 0
    assert "digits" in (folder / "report.md").read_text().splitlines()[0]


def test_more_runs_until_the_interval_is_narrow(tmp_path: Path) -> None:
    # No three runs agree to a millionth: the cap ends it.
    race(_settings(tmp_path / "wide", until=1e-4, at_most=4), _watch)
    assert len(_records(tmp_path / "wide")) == 4
    # And any three agree to 1,000 percent.
    race(_settings(tmp_path / "narrow", until=1000, at_most=9), _watch)
    records = _records(tmp_path / "narrow")
    assert len(records) == 3
    # Its worker's time counts as its own.
    assert all(record["others_cpus"] < 2 for record in records)
    assert settings_of(tmp_path / "narrow").until == 1000


def test_an_interval_needs_three_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an interval needs 3 runs"):
        _settings(tmp_path, until=2, at_most=2)
    with pytest.raises(UserError, match="--until 0: more than 0 percent"):
        _settings(tmp_path, until=0)


def test_native_start_needs_no_weights(tmp_path: Path) -> None:
    folder = tmp_path / "race"
    assert race(_settings(folder, start="native"), _watch).clean
    assert not list((folder / "weights").glob("*"))


def test_a_folder_is_not_raced_in_twice(tmp_path: Path) -> None:
    folder = tmp_path / "race"
    race(_settings(folder), _watch)
    assert run([*QUICK, "--out", str(folder)]) == 2


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("raise ValueError('broken on purpose')", "failed", "broken on purpose"),
        ("import os; os._exit(3)", "failed", "status 3"),
        ("import os; os.kill(os.getpid(), 9)", "memory", "killed"),
        ("import time; time.sleep(600)", "timeout", "took more than"),
    ],
)
def test_what_befalls_one_run(
    fault: str,
    status: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The faulty program's row says so; the record is there; the race is not clean."""

    def faulty(*args: Any) -> Program:
        program = emit(*args)
        lines = program.source.splitlines()
        at = next(i for i, row in enumerate(lines) if row.startswith("def train_step"))
        lines.insert(at + 1, f"    {fault}")
        return dataclasses.replace(program, source="\n".join(lines) + "\n")

    race(_settings(tmp_path / "warm"), _watch)
    monkeypatch.setattr(lineup, "emit", faulty)
    folder = tmp_path / "race"
    outcome = race(_settings(folder, timeout=15.0), _watch)
    assert not outcome.clean
    (record,) = _records(folder)
    assert record["status"] == status
    assert says in record["error"]


def test_a_program_that_differs_is_not_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netglot.check import gatekeeper as verdicts

    def wrong(*args: Any) -> Program:
        program = emit(*args)
        assert "0.999" in program.source
        return dataclasses.replace(
            program, source=program.source.replace("0.999", "0.99")
        )

    monkeypatch.setattr(verdicts, "emit", wrong)
    folder = tmp_path / "race"
    outcome = race(_settings(folder), _watch)
    (record,) = _records(folder)
    assert not outcome.clean
    assert record["status"] == "done" and record["equal"]["equal"] is False


def test_an_environment_that_cannot_be_had(tmp_path: Path) -> None:
    folder = tmp_path / "race"
    settings = _settings(folder, labels=("numpy", "numpy==0.0.0.dev0"))
    assert not race(settings, _watch).clean
    good, bad = _records(folder)
    assert (good["status"], bad["status"]) == ("done", "lacking")
    assert "0.0.0.dev0" in bad["error"]


def test_going_on(tmp_path: Path) -> None:
    folder = tmp_path / "race"
    race(_settings(folder, repeats=3), _watch)
    kept = folder / "records" / "numpy-0.json"
    before = kept.read_text()
    (folder / "records" / "numpy-1.json").unlink()
    (folder / "records" / "numpy-2.json").write_text("{ half of a rec")
    race(settings_of(folder), _watch, resume=True)
    assert kept.read_text() == before
    assert [r["status"] for r in _records(folder)] == ["done"] * 3


def _start(folder: Path) -> subprocess.Popen[str]:
    """A race in a process of its own that takes long, once it is in training."""
    words = ["race", "mnist-fcn", "--on", "numpy", "--epochs", "500", "--repeats", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "netglot", *words, "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    log = folder / "logs" / "numpy-0.log"
    while not (log.exists() and "epoch" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    return process


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_control_c(tmp_path: Path) -> None:
    race(_settings(tmp_path / "warm"), _watch)
    folder = tmp_path / "race"
    process = _start(folder)
    workers = _children(process.pid)
    assert workers
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"--resume {folder}" in said and "Traceback" not in said
    assert _gone(workers)


def test_kill(tmp_path: Path) -> None:
    race(_settings(tmp_path / "warm"), _watch)
    process = _start(tmp_path / "race")
    workers = _children(process.pid)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert _gone(workers)


def test_losses_from_running_means() -> None:
    losses = [3.0, 2.0, 4.0, 1.0, 5.0, 0.0]
    means = []
    for i in range(6):
        epoch = losses[3 * (i // 3) : i + 1]
        means.append(sum(epoch) / len(epoch))
    assert _single(means, 2) == pytest.approx(losses)
