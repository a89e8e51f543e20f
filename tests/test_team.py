"""Several processes that train together: shared work, and what befalls one of them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netglot import backends, workloads
from netglot.backend import Engine
from netglot.emit import GapError, Settings, emit
from netglot.errors import UserError
from netglot.race import scaling
from netglot.race.engine import _together
from netglot.runtime import machine, team
from netglot.runtime.jobs import Worker
from netglot.runtime.team import Team
from test_worker import PROGRAMS, gone

pytestmark = pytest.mark.text

ENGINE = Engine("a stand-in", "run {file}", {"WHO": "{rank} of {workers} at {first}"})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts a team of two whose rank 1 is bad."""
    teams = []

    def begin(bad: str = "") -> Team:
        ports = team.free_ports(2)
        workers = [
            Worker.start(
                sys.executable,
                log=tmp_path / f"log-{rank}",
                variables={
                    **os.environ,
                    **team.variables(ENGINE, rank, ports),
                    "BAD": bad,
                },
                name=f"stand-in rank {rank}",
            )
            for rank in range(2)
        ]
        teams.append(Team("stand-in", workers))
        result = teams[-1].ask("import", program=PROGRAMS / "ranks.py", timeout=60)
        assert result.ok and teams[-1].ask("build").ok, result.error
        return teams[-1]

    yield begin
    for each in teams:
        each.close()
        assert all(gone(worker.pid) for worker in each.workers)


def _steps(both: Team, folder: Path, timeout: float | None = None) -> Any:
    x = np.arange(12.0).reshape(3, 4)
    np.savez(folder / "inputs.npz", x=x)
    return both.ask(
        "steps",
        inputs=folder / "inputs.npz",
        output=folder / "steps",
        timeout=timeout,
    )


def test_each_takes_its_share_of_every_batch(start: Any, tmp_path: Path) -> None:
    result = _steps(start(), tmp_path)
    assert [answer["losses"] for answer in result.answer["ranks"]] == [[0] * 3, [1] * 3]
    first = np.load(tmp_path / "steps" / "step_1.npz")["weight"]
    second = np.load(tmp_path / "steps" / "rank_1" / "step_1.npz")["weight"]
    # Rows 0, 2 and 1, 3 of 0, 1, 2, 3.
    assert first.tolist() == [2, 2] and second.tolist() == [4, 2]
    assert len(np.load(tmp_path / "steps" / "scores.npz")["scores"]) == 4


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [("dies", "died", "status 3"), ("raises", "raised", "broken on purpose")],
)
def test_one_that_fails_ends_the_others(
    bad: str, kind: str, says: str, start: Any, tmp_path: Path
) -> None:
    both = start(bad)
    result = _steps(both, tmp_path)
    assert not result.ok and result.error.kind == kind
    for words in ("stand-in rank 1", says, str(tmp_path / "log-1"), "were ended"):
        assert words in result.error.message
    assert not both.alive
    assert all(gone(worker.pid) for worker in both.workers)
    # And every further question is answered by it.
    assert both.ask("build").error == result.error


def test_one_that_hangs_is_found(start: Any, tmp_path: Path) -> None:
    both = start("hangs")
    result = _steps(both, tmp_path, timeout=2)
    assert result.error.kind == "timeout" and "more than 2 s" in result.error.message
    rank0, rank1 = result.error.message.splitlines()[1:]
    assert "rank 0" in rank0 and "time.sleep(600)" in rank0 and "log-0" in rank0
    assert "rank 1" in rank1 and "time.sleep(500)" in rank1 and "log-1" in rank1
    assert "(train_step)" in rank1
    assert all(gone(worker.pid) for worker in both.workers)


def test_who_a_process_is() -> None:
    ports = team.free_ports(3)
    assert len(set(ports)) == 3
    told = team.variables(ENGINE, 2, ports)
    assert told["RANK"] == told["LOCAL_RANK"] == "2" and told["WORLD_SIZE"] == "3"
    assert told["MASTER_PORT"] == str(ports[0])
    assert told["WHO"] == f"2 of 3 at 127.0.0.1:{ports[0]}"


def test_ports_in_use_are_avoided() -> None:
    with socket.socket() as taken:
        taken.bind((team.HOST, 0))
        assert taken.getsockname()[1] not in team.free_ports(200)


def test_processors_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "allowed_cpus", lambda: (4, 5, 6, 7))
    assert team.threads_of(2, None) == 2 and team.threads_of(2, 3) == 1
    assert [team.cpus_of(rank, 2, None) for rank in (0, 1)] == [(4, 5), (6, 7)]
    # More processes than processors take turns.
    assert [team.cpus_of(rank, 5, None) for rank in (0, 4)] == [(4,), (4,)]


def test_answers_of_several_are_one() -> None:
    def answer(ms: float, loss: float) -> dict[str, Any]:
        names = ("peak", "after_import", "above_import", "children")
        times = ("train_seconds", "first_step_seconds", "threads_used")
        return {
            **dict.fromkeys(times, 1.0),
            "threads_used_steady": 1.0,
            "cpu_seconds": 2.0,
            "step_ms": ms,
            "losses": [loss],
            "metric": 0.5,
            "memory": {**dict.fromkeys(names, 10), "source": "x"},
        }

    ranks = [answer(3.0, 1.0), answer(4.0, 2.0)]
    merged = _together({**ranks[0], "ranks": ranks})
    assert merged["step_ms"] == 4.0 and merged["losses"] == [1.5]
    assert merged["threads_used"] == 2.0 and merged["memory"]["peak"] == 20
    assert [each["step_ms"] for each in merged["ranks"]] == [3.0, 4.0]
    assert _together(ranks[0]) is ranks[0]


@pytest.mark.parametrize("name", backends.names())
def test_an_engine_or_the_reason_why_there_is_none(name: str) -> None:
    backend = backends.get(name)
    task = workloads.get("mnist-fcn")
    if isinstance(backend.engine, Engine):
        program = emit(task, backend, Settings(parallel=True))
        assert program.parallel and program.name.endswith("_parallel.py")
        assert "RANK" in program.source
        return
    with pytest.raises(GapError) as caught:
        emit(task, backend, Settings(parallel=True))
    assert str(caught.value) == (
        f"{name} cannot write training on several processes: {backend.engine}"
    )


def test_a_network_that_is_not_trained() -> None:
    with pytest.raises(GapError, match="only run forward"):
        emit(
            workloads.get("resnet50-features"),
            backends.get("pytorch"),
            Settings(parallel=True),
        )


def test_numbers_of_processes() -> None:
    assert scaling.numbers("4,1,2") == [1, 2, 4]
    for text in ("0", "2,x", ""):
        with pytest.raises(UserError, match="--workers"):
            scaling.numbers(text)


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    from netglot.cli import run

    assert run(["show", "mnist-fcn", "--in", "pytorch", "--parallel"]) == 0
    assert "DistributedDataParallel" in capsys.readouterr().out
    assert run(["show", "mnist-fcn", "--in", "numpy", "--parallel"]) == 2
    assert "know one process" in capsys.readouterr().err
    assert run(["race", "mnist-fcn", "--workers", "3", "--on", "pytorch"]) == 2
    assert "3 processes cannot share evenly" in capsys.readouterr().err
    assert run(["race", "--grow", "depth", "--workers", "2"]) == 2
