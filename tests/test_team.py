"""Several processes that train together: shared work, and what befalls one of them."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import marks
from netglot import backends, workloads
from netglot.backend import Engine, Program
from netglot.check import gatekeeper, lineup
from netglot.check.programs import check_programs
from netglot.check.settings import Settings as CheckSettings
from netglot.emit import GapError, Settings, emit
from netglot.errors import UserError
from netglot.race import scaling
from netglot.race.engine import _together, race
from netglot.race.settings import Settings as RaceSettings
from netglot.runtime import envs, machine, team
from netglot.runtime.jobs import Worker
from netglot.runtime.mpi import Launcher
from netglot.runtime.team import Team
from test_worker import PROGRAMS, gone

ENGINE = Engine("a stand-in", "run {file}", {"WHO": "{rank} of {workers} at {first}"})
ENGINES = [n for n in backends.names() if isinstance(backends.get(n).engine, Engine)]


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


@pytest.mark.text
def test_each_takes_its_share_of_every_batch(start: Any, tmp_path: Path) -> None:
    result = _steps(start(), tmp_path)
    assert [answer["losses"] for answer in result.answer["ranks"]] == [[0] * 3, [1] * 3]
    first = np.load(tmp_path / "steps" / "step_1.npz")["weight"]
    second = np.load(tmp_path / "steps" / "rank_1" / "step_1.npz")["weight"]
    # Rows 0, 2 and 1, 3 of 0, 1, 2, 3.
    assert first.tolist() == [2, 2] and second.tolist() == [4, 2]
    assert len(np.load(tmp_path / "steps" / "scores.npz")["scores"]) == 4


@pytest.mark.text
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


@pytest.mark.text
def test_one_that_hangs_is_found(start: Any, tmp_path: Path) -> None:
    both = start("hangs")
    result = _steps(both, tmp_path, timeout=2)
    assert result.error.kind == "timeout" and "more than 2 s" in result.error.message
    rank0, rank1 = result.error.message.splitlines()[1:]
    assert "rank 0" in rank0 and "time.sleep(600)" in rank0 and "log-0" in rank0
    assert "rank 1" in rank1 and "time.sleep(500)" in rank1 and "log-1" in rank1
    assert "(train_step)" in rank1
    assert all(gone(worker.pid) for worker in both.workers)


@pytest.mark.text
def test_who_a_process_is() -> None:
    ports = team.free_ports(3)
    assert len(set(ports)) == 3
    told = team.variables(ENGINE, 2, ports)
    assert told["RANK"] == told["LOCAL_RANK"] == "2" and told["WORLD_SIZE"] == "3"
    assert told["MASTER_PORT"] == str(ports[0])
    assert told["WHO"] == f"2 of 3 at 127.0.0.1:{ports[0]}"


#: Starts ``mpiexec -n 1 command : -n 1 command``, and says who is who.
MPIEXEC = """#!{python}
import os, subprocess, sys
assert "--bad" not in sys.argv, "bad on purpose"
rows, row = [], []
for word in sys.argv[1:]:
    if word == ":":
        rows, row = [*rows, row], []
    else:
        row.append(word)
started = [
    subprocess.Popen(row[2:], env=dict(os.environ, PLACE=str(rank)))
    for rank, row in enumerate([*rows, row])
]
[process.wait() for process in started]
"""


def _mpiexec(folder: Path) -> Path:
    """The interpreter of an environment that has a launcher beside it."""
    file = folder / "mpiexec"
    file.write_text(MPIEXEC.replace("{python}", sys.executable))
    file.chmod(0o755)
    return folder / "python"


@pytest.mark.text
def test_a_launcher_tells_each_place_by_rank(tmp_path: Path) -> None:
    found = Launcher("mpiexec", _mpiexec(tmp_path), {"ALL": "1"}, 2)
    places = psutil.Process(found.pid).children()
    found.close()
    assert found.told == ({"PLACE": "0"}, {"PLACE": "1"})
    # The places see that it is gone.
    _, left = psutil.wait_procs(places, timeout=5)
    assert len(places) == 2 and not left


@pytest.mark.text
@pytest.mark.parametrize(
    ("command", "says"),
    [("mpiexec --bad", "bad on purpose"), ("no-mpiexec", "command no-mpiexec of MPI")],
)
def test_a_launcher_that_fails(command: str, says: str, tmp_path: Path) -> None:
    env = backends.get("numpy").env
    place = envs.Environment("", _mpiexec(tmp_path), "3.11", {}, 0, 0, "")
    engine = dataclasses.replace(ENGINE, launcher=command)
    with Team.start_for(env, place, engine, 2, log=tmp_path / "log", name="x") as both:
        result = both.ask("import")
    assert not result.ok and result.error.kind == "died"
    assert "x cannot be started" in result.error.message
    assert says in result.error.message


#: A framework whose import serves, in one of two roles.
SERVED = """
import os, time
role = os.environ.get("ROLE")
while role:
    if role == "bad":
        os._exit(3)
    time.sleep(0.1)
"""


@pytest.mark.text
@pytest.mark.parametrize("second", ["good", "bad"])
def test_processes_beside_serve_and_end(second: str, tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    env = dataclasses.replace(backends.get("numpy").env, imports=("served",))
    place = envs.Environment("", Path(sys.executable), "3.11", {}, 0, 0, "")
    roles = ({"ROLE": "good"}, {"ROLE": second})
    told = {"PYTHONPATH": str(tmp_path), "AT": "{port} of {workers} at {server}"}
    engine = dataclasses.replace(ENGINE, variables=told, beside=roles)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with Team.start_for(env, place, engine, 2, log=tmp_path / "log", name="x") as both:
        result = both.ask("import", program=PROGRAMS / "ranks.py", timeout=60)
        if second == "bad":
            # Heard of at the latest while the others wait for each other.
            while result.ok:
                result = both.ask("import", timeout=60)
            assert result.error.kind == "died"
            assert "x ROLE=bad ended during import" in result.error.message
        assert result.ok == (second == "good")
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    ports = [4, 5, 6, 7]
    found = [team.variables(engine, rank, ports) for rank in range(3)]
    assert [each["AT"] for each in found] == [f"{n} of 2 at 6" for n in (4, 5, 6)]
    assert found[0]["WORLD_SIZE"] == "2"


@pytest.mark.text
def test_ports_in_use_are_avoided() -> None:
    with socket.socket() as taken:
        taken.bind((team.HOST, 0))
        assert taken.getsockname()[1] not in team.free_ports(200)


@pytest.mark.text
def test_processors_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "allowed_cpus", lambda: (4, 5, 6, 7))
    assert team.threads_of(2, None) == 2 and team.threads_of(2, 3) == 1
    assert [team.cpus_of(rank, 2, None) for rank in (0, 1)] == [(4, 5), (6, 7)]
    # More processes than processors take turns.
    assert [team.cpus_of(rank, 5, None) for rank in (0, 4)] == [(4,), (4,)]


@pytest.mark.text
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


@pytest.mark.text
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


@pytest.mark.text
def test_a_network_that_is_not_trained() -> None:
    with pytest.raises(GapError, match="only run forward"):
        emit(
            workloads.get("resnet50-features"),
            backends.get("pytorch"),
            Settings(parallel=True),
        )


@pytest.mark.text
def test_numbers_of_processes() -> None:
    assert scaling.numbers("4,1,2") == [1, 2, 4]
    for text in ("0", "2,x", ""):
        with pytest.raises(UserError, match="--workers"):
            scaling.numbers(text)


@pytest.mark.text
def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    from netglot.cli import run

    assert run(["show", "mnist-fcn", "--in", "pytorch", "--parallel"]) == 0
    assert "DistributedDataParallel" in capsys.readouterr().out
    assert run(["show", "mnist-fcn", "--in", "numpy", "--parallel"]) == 2
    assert "know one process" in capsys.readouterr().err
    assert run(["race", "mnist-fcn", "--workers", "3", "--on", "pytorch"]) == 2
    assert "3 processes cannot share evenly" in capsys.readouterr().err
    assert run(["race", "--grow", "depth", "--workers", "2"]) == 2


# --- Whole programs -------------------------------------------------------------------


def _watch(*args: Any, **details: Any) -> None:
    pass


def _changed(*changes: tuple[str, str]) -> Callable[..., Program]:
    """``emit``, after which the text of programs is another."""

    def changed(*args: Any) -> Program:
        program = emit(*args)
        source = program.source
        for old, new in changes:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        return dataclasses.replace(program, source=source)

    return changed


@pytest.mark.framework
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks.of(name)) for name in ENGINES]
)
def test_two_processes_end_as_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatekeeper, "_read", lambda path: None)
    settings = CheckSettings("mnist-fcn", (name,), tmp_path, workers=2)
    report = check_programs(settings, _watch, size=8)
    (checked,) = report.checked
    assert checked.status == "equal" and checked.verdict, checked.error
    found = {item.what: item.size for item in checked.verdict.differences}
    last = "all weights after step 10"
    for where in ("", " in process 1"):
        assert found[last + where] < 1e-5
        if "float64" not in backends.get(name).dtypes:
            continue
        assert found[f"{last}{where} (float64)"] < 1e-10
        assert found[f"all gradients{where} (float64)"] < 1e-10


@pytest.mark.framework
def test_processes_that_go_their_own_ways_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = _changed(("F.cross_entropy(model(x)", "F.cross_entropy(model.module(x)"))
    monkeypatch.setattr(gatekeeper, "emit", alone)
    settings = CheckSettings("mnist-fcn", ("pytorch",), tmp_path, workers=2)
    (checked,) = check_programs(settings, _watch, steps=2).checked
    assert checked.status == "different" and checked.verdict
    found = checked.verdict.differences
    assert not any(d.equal for d in found if "after step 2" in d.what)


@pytest.mark.framework
def test_a_race_of_two_processes(tmp_path: Path) -> None:
    labels = ("pytorch", "numpy")
    settings = RaceSettings(
        "mnist-fcn", labels, tmp_path, limit=300, epochs=1, workers=2
    )
    assert not race(settings, _watch).clean
    records = {
        path.stem: json.loads(path.read_text())
        for path in (tmp_path / "records").glob("*.json")
    }
    gap, done = records["numpy-0"], records["pytorch-0"]
    assert gap["status"] == "gap" and "know one process" in gap["error"]
    assert done["status"] == "done" and done["equal"]["equal"]
    assert done["workers"] == len(done["ranks"]) == 2 and done["threads_each"] >= 1
    assert done["steps"] == len(done["losses"]) == 2
    first, second = done["ranks"]
    # They end with the same weights.
    assert first["checksum"] == pytest.approx(second["checksum"], rel=1e-6)
    assert "--workers 2" in done["command"]


@pytest.mark.framework
def test_a_process_of_a_race_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = _changed(("    model.train()\n", "    if RANK == 1:\n        os._exit(3)\n"))
    monkeypatch.setattr(lineup, "emit", dies)
    settings = RaceSettings(
        "mnist-fcn", ("pytorch",), tmp_path, limit=300, epochs=1, workers=2, timeout=120
    )
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    assert not race(settings, _watch).clean
    record = json.loads((tmp_path / "records" / "pytorch-0.json").read_text())
    assert record["status"] == "failed" and "pytorch rank 1" in record["error"]
    assert "status 3" in record["error"] and "pytorch-0-rank1.log" in record["error"]
    after = {process.pid for process in psutil.Process().children(recursive=True)}
    assert after <= before
