"""Workers on other hosts and in jobs of launchers, without either.

A script stands in for ssh and runs the command here; launchers are played by setting
their variables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from netglot import backends, workloads
from netglot.check.lineup import line_up
from netglot.check.settings import entries
from netglot.cli import run
from netglot.errors import UserError
from netglot.race.engine import race
from netglot.race.settings import Settings as RaceSettings
from netglot.report.files import write_report
from netglot.runtime import agent, hosts, launchers, meeting, seats, team
from netglot.runtime.envs import EnvError, Environment
from netglot.runtime.seats import (
    Remote,
    Seat,
    cpus_of,
    environment_on,
    threads_each,
)
from netglot.runtime.team import Team
from test_team import ENGINE
from test_worker import PROGRAMS, gone

HERE = Environment("here", Path(sys.executable), "", {}, 0, 0, "", "here")
SSH = """#!/bin/sh
host=$1; shift
echo "welcome to $host"
case $host in
    refuses) echo "me@$host: Permission denied (publickey,password)." >&2; exit 255;;
    unknown) echo "ssh: Could not resolve hostname $host" >&2; exit 255;;
    bare) echo "/usr/bin/python3: No module named netglot" >&2; exit 1;;
    silent) exec sleep 60;;
    empty) NETGLOT_CACHE=FOLDER; export NETGLOT_CACHE;;
esac
exec sh -c "$*"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in."""
    script = tmp_path / "remote-shell"
    script.write_text(SSH.replace("FOLDER", str(tmp_path / "cache")))
    script.chmod(0o755)
    monkeypatch.setenv("NETGLOT_REMOTE_SHELL", str(script))
    source = Path(hosts.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(source))


def _team(them: list[Seat], folder: Path, bad: str = "") -> Team:
    ports = team.free_ports(2)
    workers = [
        Remote.on(
            seat,
            HERE,
            {**team.variables(ENGINE, rank, ports), "BAD": bad},
            log=folder / f"log-{rank}",
            name=f"stand-in rank {rank} on {seat.label}",
        )
        for rank, seat in enumerate(them)
    ]
    both = Team("stand-in", workers)
    result = both.ask("import", program=PROGRAMS / "ranks.py", timeout=60)
    assert result.ok and both.ask("build").ok, result.error
    return both


def _steps(both: Team, folder: Path, timeout: float | None = None) -> Any:
    np.savez(folder / "inputs.npz", x=np.arange(12.0).reshape(3, 4))
    return both.ask(
        "steps",
        inputs=folder / "inputs.npz",
        output=folder / "steps",
        timeout=timeout,
    )


def _pids(both: Team) -> list[int]:
    return [worker.hello["pid"] for worker in both.workers]


def _wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while not all(gone(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(gone(pid) for pid in pids)


# --- Over a remote shell --------------------------------------------------------------


@pytest.mark.text
def test_workers_are_dealt_to_hosts_evenly() -> None:
    assert hosts.dealt(["a", "b"], 4) == ["a", "a", "b", "b"]
    assert hosts.dealt(["a", "b", "c"], 4) == ["a", "a", "b", "c"]
    for names, workers, says in (
        (["a", "b"], 1, "--workers 2"),
        (["a", "a"], 2, "twice"),
        (["-oProxyCommand=x"], 1, "no name of a host"),
        ([""], 1, "no name of a host"),
    ):
        with pytest.raises(UserError, match=says):
            hosts.dealt(names, workers)


@pytest.mark.text
def test_two_hosts_train_together(ssh: None, tmp_path: Path) -> None:
    with hosts.opened(["a", "b"], 2) as them:
        assert [seat.label for seat in them] == ["a", "b"]
        # They are this machine, which each reaches there.
        assert [seat.address for seat in them] == ["127.0.0.1"] * 2
        with _team(them, tmp_path) as both:
            pids = _pids(both)
            result = _steps(both, tmp_path)
            assert result.ok, result.error
    losses = [answer["losses"] for answer in result.answer["ranks"]]
    assert losses == [[0] * 3, [1] * 3]
    # What each wrote has come back.
    second = np.load(tmp_path / "steps" / "rank_1" / "step_1.npz")["weight"]
    assert second.tolist() == [4, 2]
    _wait_until_gone(pids)
    assert all(seat.process and seat.process.poll() is not None for seat in them)


@pytest.mark.text
def test_files_that_are_not_there_are_sent(ssh: None, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"1")
    with hosts.opened(["a"], 1) as (seat,):
        assert seat.give(path) == str(path)
        known = {"path": str(path), "known": agent.digest(b"2")}
        assert seat.ask("file", **known)["path"] is None
        sent = Path(seat.ask("put", blobs=[b"2"], **known)["path"])
        assert sent.name == path.name and sent.read_bytes() == b"2"
        assert seat.ask("file", **known)["path"] == str(sent)
    assert not sent.exists()


@pytest.mark.text
@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [("dies", "died", "status 3"), ("raises", "raised", "broken on purpose")],
)
def test_one_that_fails_is_named_with_its_host(
    bad: str, kind: str, says: str, ssh: None, tmp_path: Path
) -> None:
    with hosts.opened(["a", "b"], 2) as them, _team(them, tmp_path, bad) as both:
        pids = _pids(both)
        result = _steps(both, tmp_path)
        assert not result.ok and result.error.kind == kind
        for words in ("stand-in rank 1 on b", says, str(tmp_path / "log-1")):
            assert words in result.error.message
        _wait_until_gone(pids)


@pytest.mark.text
def test_one_that_hangs_is_found(ssh: None, tmp_path: Path) -> None:
    with hosts.opened(["a", "b"], 2) as them, _team(them, tmp_path, "hangs") as both:
        pids = _pids(both)
        result = _steps(both, tmp_path, timeout=2)
        assert result.error.kind == "timeout"
        rank0, rank1 = result.error.message.splitlines()[1:]
        assert "time.sleep(600)" in rank0 and "log-0" in rank0
        assert "time.sleep(500)" in rank1 and "(train_step)" in rank1
        _wait_until_gone(pids)


@pytest.mark.text
def test_a_host_that_is_lost(ssh: None, tmp_path: Path) -> None:
    with hosts.opened(["a", "b"], 2) as them, _team(them, tmp_path) as both:
        pids = _pids(both)
        assert them[1].process is not None
        them[1].process.kill()
        result = _steps(both, tmp_path)
        assert result.error.kind == "died"
        assert "stand-in rank 1 on b was lost" in result.error.message
        assert "status -9" in result.error.message
        _wait_until_gone(pids)


@pytest.mark.text
@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("refuses", "ssh-copy-id refuses"),
        ("unknown", "as ssh knows it"),
        ("bare", "NETGLOT_REMOTE_PYTHON"),
    ],
)
def test_a_host_that_cannot_be_used(host: str, says: str, ssh: None) -> None:
    with (
        pytest.raises(UserError, match=rf"(?s)\n    {host}: .*{says}"),
        hosts.opened(["a", host], 2),
    ):
        pass


@pytest.mark.text
def test_a_host_that_says_nothing(ssh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "PATIENCE", 0.5)
    with pytest.raises(UserError, match=r"silent: nothing was heard within 0.5 s"):
        hosts.opened(["silent"], 1).__enter__()


@pytest.mark.text
def test_a_host_with_another_netglot(
    ssh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "edition", lambda: "another")
    with (
        pytest.raises(UserError, match=r"b has netglot .* install the same"),
        hosts.opened(["b"], 1),
    ):
        pass


@pytest.mark.text
def test_a_host_without_the_environment(ssh: None, tmp_path: Path) -> None:
    env = backends.get("pytorch").env
    with hosts.opened(["empty"], 1) as them:
        with pytest.raises(EnvError) as caught:
            environment_on(them, env, "pytorch")
        assert "empty: lacks the environment numpy-" in str(caught.value)
        assert "remote-shell empty netglot env add pytorch`" in str(caught.value)
        with pytest.raises(EnvError, match=r"empty: /no/python, .* not a Python"):
            environment_on(them, env, "pytorch", Path("/no/python"))
        own = Path(sys.executable)
        with pytest.raises(EnvError, match=r"empty: .* does not import torch"):
            environment_on(them, env, "x", own)
        bare = dataclasses.replace(env, imports=("numpy",))
        found = environment_on(them, bare, "x", own)
        assert found.interpreter == own and "numpy" in found.versions


@pytest.mark.text
def test_hosts_that_do_not_reach_each_other(
    ssh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Seat.send

    def deaf(seat: Seat, do: str, *args: Any, **given: Any) -> Any:
        if do == "reach":
            given["word"] = "of another host"
        return asked(seat, do, *args, **given)

    monkeypatch.setattr(Seat, "send", deaf)
    with (
        pytest.raises(UserError, match=r"a has no address(?s:.)*from b: 127.0.0.1 is"),
        hosts.opened(["a", "b"], 2),
    ):
        pass


class _Placed:
    """As much of a seat as the sharing of its host's processors asks for."""

    def __init__(self, host: str, *cpus: int) -> None:
        self.host, self.cpus = (host, ""), cpus


@pytest.mark.text
def test_processors_of_each_host_are_shared() -> None:
    them: Any = [_Placed("a", 0, 1, 2, 3), _Placed("a", 0, 1, 2, 3), _Placed("b", 7)]
    assert threads_each(them, None) == [2, 2, 1]
    assert threads_each(them, 2) == [1, 1, 2]
    assert [cpus_of(them, r, None) for r in range(3)] == [(0, 1), (2, 3), (7,)]
    # A launcher has given each its own.
    bound: Any = [_Placed("a", 0), _Placed("a", 1)]
    assert [cpus_of(bound, r, None) for r in range(2)] == [(0,), (1,)]


# --- Within a job ---------------------------------------------------------------------

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_MCA_orte_hnp_uri": "123.0;tcp://10.1.1.1,10.2.2.2:5432;tcp6://[fd00::2]:1",
}
SLURM = {
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NODELIST": "n[08-09],m1",
}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"}


@pytest.mark.text
@pytest.mark.parametrize(
    ("told", "launcher", "addresses"),
    [
        (TORCHRUN, "torchrun", ("n1",)),
        (OPEN_MPI, "mpirun", ("10.1.1.1", "10.2.2.2")),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "mpirun", ("127.0.0.1",)),
        ({**OPEN_MPI, **SLURM, "MASTER_ADDR": "m"}, "mpirun", ("m",)),
        (SLURM, "srun", ("n08",)),
        ({**SLURM, "PMI_RANK": "1", "PMI_SIZE": "4"}, "srun", ("n08",)),
        ({**SLURM, "SLURM_STEP_NODELIST": "n3"}, "srun", ("127.0.0.1",)),
        (HYDRA, "mpirun", ("127.0.0.1",)),
        (
            {**HYDRA, "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"},
            "mpirun",
            ("127.0.0.1",),
        ),
    ],
)
def test_who_a_process_of_a_job_is(
    told: dict[str, str], launcher: str, addresses: tuple[str, ...]
) -> None:
    job = launchers.job(told)
    assert job is not None and (job.launcher, job.rank, job.size) == (launcher, 1, 4)
    assert job.addresses == addresses and 61440 <= job.port < 65536
    # The same for all of its processes, another for another job.
    others = {**told, **{name: "2" for name in told if name.endswith("RANK")}}
    same = launchers.job(others)
    assert same is not None and same.port == job.port
    named = launchers.job({**told, "NETGLOT_PORT": "5000"})
    assert named is not None and named.port == 5000


@pytest.mark.text
def test_what_is_no_job() -> None:
    assert launchers.job({}) is None
    assert launchers.job({"RANK": "0", "WORLD_SIZE": "1"}) is None
    # A batch script, of which srun has started nothing.
    batch = {k: v for k, v in SLURM.items() if k != "SLURM_STEP_ID"}
    assert launchers.job({**batch, "SLURM_PROCID": "0"}) is None
    with pytest.raises(UserError, match=r"contradict"):
        launchers.job({**TORCHRUN, "RANK": "4"})
    with pytest.raises(UserError, match=r"WORLD_SIZE='two'"):
        launchers.job({**TORCHRUN, "WORLD_SIZE": "two"})
    with pytest.raises(UserError, match=r"MASTER_ADDR"):
        launchers.job({**HYDRA, "MPI_LOCALNRANKS": "2"})


@pytest.mark.text
def test_lists_of_nodes() -> None:
    assert launchers.nodes_of("a[1-3,07],b2") == ("a1", "a2", "a3", "a07", "b2")
    assert launchers.nodes_of("r[1-2]n[09-10]") == ("r1n09", "r1n10", "r2n09", "r2n10")
    assert launchers.nodes_of("one") == ("one",) and launchers.nodes_of("") == ()


@pytest.mark.text
def test_a_worker_does_not_inherit_the_launcher() -> None:
    kept = launchers.without_launcher({**TORCHRUN, **OPEN_MPI, **SLURM, "HOME": "/"})
    assert kept == {"HOME": "/"}


@contextlib.contextmanager
def _process(rank: int, size: int, port: int, **more: str) -> Iterator[Any]:
    """Another process of a job, which pytest is the first of."""
    code = (
        "import sys; from netglot.runtime import launchers, meeting, seats\n"
        f"sys.argv[1:] = {sys.argv[1:]!r}\n"
        "from netglot.errors import UserError\n"
        f"seats.PATIENCE = {more.pop('patience', '20')}\n"
        "try: sys.exit(meeting.join(launchers.job()))\n"
        "except UserError as error: sys.exit(str(error))\n"
    )
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(hosts.__file__).parents[2]),
        **{"RANK": str(rank), "WORLD_SIZE": str(size), "NETGLOT_PORT": str(port)},
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=variables, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _job(size: int = 2) -> launchers.Job:
    return launchers.Job("torchrun", 0, size, ("127.0.0.1",), team.free_ports(1)[0])


@pytest.mark.text
def test_the_processes_of_a_job_meet(tmp_path: Path) -> None:
    job = _job()
    with _process(1, 2, job.port) as other:
        with meeting.gathered(job) as them, _team(them, tmp_path) as both:
            pids = _pids(both)
            assert [seat.label for seat in them] == [socket.gethostname()] * 2
            assert _steps(both, tmp_path).ok
        assert other.wait(20) == 0
        _wait_until_gone(pids)


@pytest.mark.text
def test_a_process_of_a_job_that_is_killed(tmp_path: Path) -> None:
    job = _job()
    with (
        # A process that is killed leaves its folder behind.
        _process(1, 2, job.port, TMPDIR=str(tmp_path)) as other,
        meeting.gathered(job) as them,
        _team(them, tmp_path) as both,
    ):
        pids = _pids(both)
        other.kill()
        result = _steps(both, tmp_path)
        assert "stand-in rank 1" in result.error.message
        assert "the process of that rank has ended" in result.error.message
        _wait_until_gone(pids)


@pytest.mark.text
def test_processes_that_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "PATIENCE", 3)
    job = _job(3)
    with (
        _process(1, 4, job.port),
        pytest.raises(UserError, match=r"Rank 1 .* 4 processes, rank 0 .* 3"),
        meeting.gathered(job),
    ):
        pass
    with (
        _process(1, 3, job.port),
        pytest.raises(UserError, match=r"rank 2 did not come to 127.0.0.1"),
        meeting.gathered(job),
    ):
        pass
    # Somebody who does not know the token is not listened to.
    with (
        _process(1, 2, job.port, NETGLOT_TOKEN="wrong", patience="1") as other,
        pytest.raises(UserError, match=r"rank 1, rank 2 did not come"),
        meeting.gathered(job),
    ):
        pass
    with _process(1, 2, job.port, patience="1") as other:
        assert other.wait(20) == 1
        says = other.stderr.read()
        assert "could not meet rank 0" in says and "refused" in says.lower()
    with (
        socket.create_server(("127.0.0.1", job.port)),
        pytest.raises(UserError, match=r"in use.* NETGLOT_PORT"),
        meeting.gathered(job),
    ):
        pass


@pytest.mark.text
def test_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    race_ = ["race", "mnist-fcn", "--on", "pytorch"]
    assert run([*race_, "--workers", "1", "--hosts", "a,b"]) == 2
    assert "Give at least --workers 2" in capsys.readouterr().err
    assert run(["race", "--grow", "depth", "--hosts", "a"]) == 2
    assert "--hosts is for a race of one workload" in capsys.readouterr().err
    told = {**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meeting, "gathered", lambda job: contextlib.nullcontext([]))
    for more in (["--hosts", "a,b"], ["--workers", "4"]):
        assert run([*race_, *more]) == 2
        assert "mpirun has started 2 processes" in capsys.readouterr().err


def _processes_with(name: str, value: str) -> list[int]:
    """The processes that have inherited this variable."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(process.pid)
    return found


# --- Whole races ----------------------------------------------------------------------


def _watch(*args: Any, **details: Any) -> None:
    pass


def test_an_engine_that_needs_more_than_its_workers_is_for_one_host(
    tmp_path: Path,
) -> None:
    names, told = ("chainer", "mxnet"), {}
    settings = RaceSettings("mnist-fcn", names, tmp_path, workers=2)

    def out(entry: Any, status: str, why: str) -> None:
        told[entry.label] = f"{status}: {why}"

    workload = workloads.get("mnist-fcn")
    two: Any = ["a", "b"]
    chosen = entries(names)
    assert not line_up(settings, workload, chosen, lambda *_: 1 / 0, out, _watch, two)
    assert "netglot starts mpiexec on its own host alone" in told["chainer"]
    assert "gap: " in told["mxnet"] and "processes beside" in told["mxnet"]


@pytest.mark.framework
def test_a_race_on_two_hosts(ssh: None, tmp_path: Path) -> None:
    settings = RaceSettings(
        "mnist-fcn",
        ("pytorch",),
        tmp_path / "race",
        limit=300,
        epochs=1,
        workers=2,
        hosts=("a", "b"),
    )
    assert race(settings, _watch).clean
    text = (tmp_path / "race" / "records" / "pytorch-0.json").read_text()
    record = json.loads(text)
    assert record["status"] == "done" and record["equal"]["equal"]
    assert [place["host"] for place in record["ran_on"]] == ["a", "b"]
    assert record["ran_on"][1]["machine"]["memory_bytes"] > 0
    first, second = record["ranks"]
    assert first["checksum"] == pytest.approx(second["checksum"], rel=1e-6)
    assert "--workers 2 --hosts a,b" in record["command"]
    write_report(tmp_path / "race")
    page = (tmp_path / "race" / "report.md").read_text()
    assert "a (rank 0: " in page and "b (rank 1: " in page


@pytest.mark.framework
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_race_that_a_launcher_starts(interrupted: bool, tmp_path: Path) -> None:
    port, source = str(team.free_ports(1)[0]), Path(hosts.__file__).parents[2]
    command = [sys.executable, "-m", "netglot", "race", "mnist-fcn", "--on", "pytorch"]
    command += ["--limit", "300", "--epochs", "1", "--out", str(tmp_path)]
    processes = [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                "PYTHONPATH": str(source),
                "OMPI_COMM_WORLD_RANK": str(rank),
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
                "NETGLOT_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        if interrupted:
            log, end = tmp_path / "logs" / "pytorch-0.log", time.monotonic() + 120
            while not log.exists() and time.monotonic() < end:
                time.sleep(0.1)
            processes[0].send_signal(signal.SIGINT)
        printed = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    # The first alone prints.
    assert printed[1] == ""
    if interrupted:
        assert processes[0].returncode == 130 and "stopped" in printed[0]
        _wait_until_gone(_processes_with("NETGLOT_PORT", port))
        return
    assert [process.returncode for process in processes] == [0, 0], printed[0]
    record = json.loads((tmp_path / "records" / "pytorch-0.json").read_text())
    assert record["workers"] == len(record["ranks"]) == len(record["ran_on"]) == 2
