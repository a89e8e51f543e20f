"""Workers: what they answer, and that nothing they do harms anybody else."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from netglot.backend import Env
from netglot.runtime import envs, jobs, machine
from netglot.runtime.jobs import Worker

PROGRAMS = Path(__file__).parent / "programs"
BARRIER = "lambda: float(model.weight.sum() + model.bias.sum())"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small prepared data set: 200 and 50 images of 2 x 2, three classes."""
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    y = rng.integers(0, 3, 250)
    x = rng.integers(0, 100, (250, 1, 2, 2)).astype(np.uint8)
    x.reshape(250, 4)[np.arange(250), y] += 120
    np.savez(path, x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    return path


def start(folder: Path, program: str, bad: str = "", **options) -> Worker:
    variables = {**os.environ, "BAD": bad}
    worker = Worker.start(
        options.pop("interpreter", sys.executable),
        log=folder / "worker.log",
        variables=variables,
        name=program,
        **options,
    )
    done = worker.ask("import", program=PROGRAMS / f"{program}.py", imports=["numpy"])
    assert done.ok or bad, done.error
    return worker


def processes_of_group(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            dead = process.status() == psutil.STATUS_ZOMBIE
            if os.getpgid(process.pid) == group and not dead:
                found.append(process.pid)
    return found


def gone(group: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not processes_of_group(group):
            return True
        time.sleep(0.05)
    return False


def test_worker_keeps_the_syntax_of_old_interpreters():
    ast.parse(jobs.WORKER.read_text(), feature_version=(3, 5))
    tree = ast.parse(jobs.WORKER.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    for node in ast.walk(tree):
        # Not in the grammar of 3.5, though ast does not mind.
        assert not isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.NamedExpr)


def test_import_tells_versions_seconds_and_memory(tmp_path):
    with start(tmp_path, "good") as worker:
        answer = worker.ask(
            "import", program=PROGRAMS / "good.py", imports=["json", "numpy"]
        ).answer
        assert answer["versions"]["numpy"] == np.__version__
        assert set(answer["seconds"]) == {"json", "numpy"}
        assert answer["resident"] > 1e6
        assert worker.hello["python"].startswith("3.")
    assert not (PROGRAMS / "__pycache__" / "worker").exists()


def test_a_missing_module_is_named(tmp_path):
    with start(tmp_path, "good") as worker:
        error = worker.ask("import", imports=["no_such_framework"]).error
        assert error.kind == "raised"
        assert error.type in ("ImportError", "ModuleNotFoundError")
        assert "no_such_framework" in error.message


def test_train_walks_the_same_way_as_the_program_by_itself(tmp_path, data):
    sys.path.insert(0, str(PROGRAMS))
    try:
        import good
    finally:
        sys.path.pop(0)
    x, y, x_test, y_test = good.load_data(data)
    model, optimizer = good.build(seed=3)
    losses: list[float] = []
    good.train(model, optimizer, x, y, epochs=2, seed=5, on_step=losses.append)

    events = []
    with start(tmp_path, "good") as worker:
        assert worker.ask("build", seed=3).ok
        result = worker.ask(
            "train",
            data=data,
            epochs=2,
            seed=5,
            barrier=BARRIER,
            on_event=events.append,
        )
        assert result.ok, result.error
        answer = result.answer
        worker.ask("save", output=tmp_path / "end.npz")
        metric = worker.ask("evaluate", data=data, output=tmp_path / "scores.npz")
    assert answer["losses"] == [float(loss) for loss in losses]
    assert answer["steps"] == 50
    assert answer["metric"] == good.evaluate(model, x_test, y_test) > 0.8
    assert metric.answer["metric"] == answer["metric"]
    assert answer["checksum"] == float(model.weight.sum() + model.bias.sum())
    np.testing.assert_array_equal(np.load(tmp_path / "end.npz")["bias"], model.bias)
    assert np.load(tmp_path / "scores.npz")["scores"].shape == (50, 3)
    assert events[0] == {"id": 3, "event": "step", "step": 1, "loss": losses[0]}
    phases = answer["phases"]
    for name in [
        "import_framework",
        "import_program",
        "load_data",
        "build",
        "settle",
        "first_step",
        "steps",
        "barrier",
        "evaluate",
    ]:
        assert phases[name] >= 0
    parts = phases["first_step"] + phases["steps"] + phases["barrier"]
    assert parts == pytest.approx(answer["train_seconds"])
    assert answer["step_ms"] == pytest.approx(1000 * answer["steps_seconds"] / 49)
    assert answer["memory"]["above_import"] >= 0
    assert "epoch 2 loss" in (tmp_path / "worker.log").read_text()


def test_limit_cuts_both_sets(tmp_path, data):
    with start(tmp_path, "good") as worker:
        worker.ask("build")
        one = worker.ask("train", data=data, limit=100, epochs=1, barrier=BARRIER)
        assert one.answer["sizes"] == {"train": 100, "test": 50}
        assert one.answer["steps"] == 12
        two = worker.ask("train", data=data, limit=16, epochs=1, barrier=BARRIER)
        assert two.answer["sizes"] == {"train": 16, "test": 16}
    with start(tmp_path, "functional") as worker:
        worker.ask("build")
        none = worker.ask("train", data=data, limit=4, epochs=1, barrier="lambda: 0.0")
        assert not none.ok
        assert "no complete batch" in none.error.message


def test_the_functional_convention(tmp_path, data):
    outcome = []
    for program, barrier in (
        ("good", BARRIER),
        ("functional", "lambda: model['bias'].sum()"),
    ):
        with start(tmp_path, program) as worker:
            worker.ask("build")
            if program == "good":
                worker.ask("save", output=tmp_path / "start.npz")
            worker.ask("build", weights=tmp_path / "start.npz")
            done = worker.ask("train", data=data, epochs=2, barrier=barrier)
            assert done.ok, done.error
            worker.ask("save", output=tmp_path / f"{program}.npz")
            outcome.append((done.answer["losses"], done.answer["metric"]))
    assert outcome[0] == outcome[1]
    one, two = (np.load(tmp_path / f"{p}.npz") for p in ("good", "functional"))
    np.testing.assert_array_equal(one["weight"], two["weight"])


def test_predict_and_steps(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 8, 4)), rng.integers(0, 3, (3, 8))
    np.savez(tmp_path / "batches.npz", x=x, y=y)
    np.savez(tmp_path / "one.npz", x=x[0])
    np.savez(tmp_path / "weights.npz", weight=rng.normal(size=(4, 3)), bias=np.ones(3))
    answers = []
    for program in ("good", "functional"):
        out = tmp_path / program
        with start(tmp_path, program) as worker:
            worker.ask("build", seed=0)
            for _ in range(2):  # the same start each time
                done = worker.ask(
                    "steps",
                    inputs=tmp_path / "batches.npz",
                    weights=tmp_path / "weights.npz",
                    count=3,
                    output=out,
                )
                assert done.ok, done.error
                answers.append(done.answer["losses"])
            worker.ask("build", weights=tmp_path / "weights.npz")
            worker.ask("predict", inputs=tmp_path / "one.npz", output=out / "p.npz")
            worker.ask("save", output=out / "step_0.npz")
            asked = {"inputs": tmp_path / "batches.npz", "output": tmp_path / "bare"}
            assert worker.ask("steps", scores=False, count=1, **asked).ok
        assert [path.name for path in (tmp_path / "bare").iterdir()] == ["step_1.npz"]
        np.testing.assert_array_equal(
            np.load(out / "scores.npz")["scores"], np.load(out / "p.npz")["scores"]
        )
        for index in range(4):
            assert np.load(out / f"step_{index}.npz")["weight"].shape == (4, 3)
        assert (np.load(out / "step_0.npz")["bias"] == 1).all()
        assert not (np.load(out / "step_1.npz")["bias"] == 1).all()
        assert [path.name for path in (tmp_path / "bare").iterdir()] == ["step_1.npz"]
    assert len(answers[0]) == 3
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_a_network_that_was_not_built(tmp_path, data):
    with start(tmp_path, "good") as worker:
        error = worker.ask("train", data=data).error
        assert error.kind == "raised" and "not built" in error.message
        assert worker.ask("no_such_verb").error.type == "Mistake"
        assert worker.ask("build").ok  # still there


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        ("raises in build", "raised", "ValueError: no such layer"),
        ("sys.exit", "raised", "SystemExit"),
        ("memory", "memory", "7 TiB"),
        ("exits", "died", "with status 7"),
        ("crashes", "died", "SIGSEGV"),
        ("killed", "memory", "memory ran out"),
        ("hangs", "timeout", "more than 1 s"),
        ("children, then exits", "died", "with status 9"),
    ],
)
def test_what_goes_wrong_in_build_is_a_result(tmp_path, bad, kind, words):
    with start(tmp_path, "bad", bad) as worker:
        with start(tmp_path / "other", "good") as other:
            begin = time.monotonic()
            result = worker.ask("build", timeout=1 if bad == "hangs" else 60)
            assert time.monotonic() - begin < 10
            assert not result.ok
            assert result.error.kind == kind
            assert words in result.error.message
            if bad in ("exits", "killed", "hangs"):
                last = {"exits": "leaving now", "hangs": "hanging"}.get(bad)
                assert (last or "about to be killed") in result.error.message
            if kind == "raised":
                assert "bad.py" in result.error.traceback
            else:
                again = worker.ask("build")
                assert worker.alive == (bad == "memory")
                assert not again.ok and again.error.kind == kind
            assert other.ask("build").ok
        group = worker.pid
    assert gone(group)


def test_what_goes_wrong_in_train_leaves_a_worker_that_answers(tmp_path, data):
    with start(tmp_path, "bad", "raises at step 3") as worker:
        assert worker.ask("build").ok
        error = worker.ask("train", data=data, epochs=1, barrier=BARRIER).error
        assert error.kind == "raised" and error.type == "ArithmeticError"
        assert "step 3 went wrong" in error.traceback
        assert worker.ask("evaluate", data=data).ok


def test_chatter_goes_to_the_log(tmp_path):
    with start(tmp_path, "bad", "prints") as worker:
        assert worker.ask("build").ok
    log = (tmp_path / "worker.log").read_text()
    assert "a line from Python" in log
    assert "a line from C" in log
    assert "a line from a child" in log


def test_requests_cannot_be_eaten(tmp_path):
    with start(tmp_path, "bad", "reads") as worker:
        assert worker.ask("build", timeout=20).ok


def test_children_end_with_the_worker(tmp_path):
    with start(tmp_path, "bad", "children") as worker:
        assert worker.ask("build").ok
        assert len(processes_of_group(worker.pid)) == 4  # worker, guard, two children
    assert gone(worker.pid)


@pytest.mark.parametrize("how", ["children", "hangs"])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, how, kill):
    parent = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "parent.py"), str(tmp_path), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    group = json.loads(parent.stdout.readline())
    if how == "children":
        assert parent.stdout.readline() == "built\n"
    else:
        time.sleep(0.5)
    assert len(processes_of_group(group)) >= 2
    parent.send_signal(kill)
    parent.wait(10)
    assert gone(group)


def test_a_worker_killed_from_outside_takes_its_children_along(tmp_path):
    with start(tmp_path, "bad", "children") as worker:
        assert worker.ask("build").ok
        os.kill(worker.pid, signal.SIGKILL)
        # Nobody asks it anything: the guard sees to it.
        end = time.monotonic() + 10
        while len(processes_of_group(worker.pid)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not processes_of_group(worker.pid)
        assert worker.ask("build").error.kind == "memory"


def test_an_interpreter_that_is_not_there(tmp_path):
    with Worker.start("/no/such/python", log=tmp_path / "log") as worker:
        result = worker.ask("build")
        assert not result.ok
        assert result.error.kind == "died"
        assert "/no/such/python" in result.error.message


def test_something_that_is_no_interpreter(tmp_path):
    with Worker.start("/bin/false", log=tmp_path / "log") as worker:
        error = worker.ask("build").error
        assert error.kind == "died" and "during start with status 1" in error.message


def test_peak_memory_is_seen(tmp_path, data):
    with start(tmp_path, "bad", "memory grows") as worker:
        worker.ask("build")
        done = worker.ask("train", data=data, limit=80, epochs=1, barrier=BARRIER)
        assert done.ok, done.error
        memory = done.answer["memory"]
        # Ten steps of 30 MB.
        assert 290e6 < memory["above_import"] < 400e6
        assert memory["device"] is None


def test_cpus_and_threads(tmp_path):
    cpus = jobs.first_cpus(1)
    assert len(cpus) == 1
    env = Env(("3.11",), ("numpy",), ("numpy",), {"A": "b"})
    python = Path(sys.executable)
    variables = jobs.variables_for(env, python, threads=3)
    assert variables["OMP_NUM_THREADS"] == "3"
    assert variables["CUDA_VISIBLE_DEVICES"] == "-1"
    assert variables["A"] == "b"
    assert "PYTHONPATH" not in variables
    free = jobs.variables_for(env, python, accelerator=True)
    assert free.get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")
    with start(tmp_path, "good", cpus=cpus) as worker:
        assert worker.hello["cpus"] == list(cpus)


def test_only_what_is_timed_is_held_to_the_first_processors(tmp_path):
    env = Env(("3.11",), ("numpy",), ("json",))
    place = envs.here(env, Path(sys.executable), "me")
    for timed, cpus in ((True, jobs.first_cpus(1)), (False, machine.allowed_cpus())):
        with Worker.start_for(
            env, place, log=tmp_path / "log", threads=1, timed=timed
        ) as worker:
            assert worker.hello["cpus"] == list(cpus)


def test_a_framework_that_heeds_no_limit_is_held_to_it_and_recorded(tmp_path, data):
    """Its threads share the processors that it was given; what they used is told."""
    cpus = jobs.first_cpus(1)
    with start(tmp_path, "greedy", cpus=cpus) as worker:
        worker.ask("build")
        done = worker.ask("train", data=data, epochs=1, barrier=BARRIER)
        assert done.ok, done.error
        threads = [
            int(task.name) for task in Path(f"/proc/{worker.pid}/task").iterdir()
        ]
        assert len(threads) > 4
        assert {tuple(os.sched_getaffinity(thread)) for thread in threads} == {cpus}
        assert 0 < done.answer["threads_used"] < 1.1


def test_a_pace_adds_variables():
    judged = {"PACE": "judged", "OMP_NUM_THREADS": "2"}
    env = Env(("3.11",), ("numpy",), ("json",), judged=judged, hurry={"HURRY": "1"})
    raced, judged, hurried = (
        jobs.variables_for(env, Path(sys.executable), 1, pace=pace)
        for pace in ("raced", "judged", "hurried")
    )
    assert "PACE" not in raced
    assert judged["PACE"] == hurried["PACE"] == "judged"
    assert "HURRY" not in judged
    assert hurried["HURRY"] == "1"
    # It goes before the limit.
    assert (raced["OMP_NUM_THREADS"], judged["OMP_NUM_THREADS"]) == ("1", "2")


def test_what_a_program_leaves_behind_is_forgotten_before_the_next(tmp_path):
    asked = {"program": PROGRAMS / "good.py", "forget": "os:abort"}
    with Worker.start(sys.executable, log=tmp_path / "log") as worker:
        # Nothing to forget yet; then the function is called, and ends this process.
        assert worker.ask("import", **asked).ok
        assert not worker.ask("import", **asked).ok


def test_proofs_see_what_a_clock_without_a_barrier_would_miss(tmp_path, data):
    shares = {}
    for program, barrier in (("good", BARRIER), ("lazy", "lambda: wait()")):
        with start(tmp_path, program) as worker:
            worker.ask("build")
            done = worker.ask(
                "proofs", data=data, limit=96, repeats=1, barrier=barrier, epochs=1
            )
            assert done.ok, done.error
            answer = done.answer
            assert (answer["steps"], answer["steps_twice"]) == (12, 24)
            shares[program] = answer["unsynchronised"]["share"]
            if program == "lazy":
                assert answer["ratio"] == pytest.approx(2)
                assert answer["second_barrier_share"] == 0
    assert shares["lazy"] < 0.2 < shares["good"]


def test_the_last_loss_and_the_barrier_are_inside_the_timed_region(tmp_path, data):
    with start(tmp_path, "lazy") as worker:
        worker.ask("build")
        answer = worker.ask(
            "train", data=data, epochs=1, barrier="lambda: wait()"
        ).answer
        assert answer["steps"] == 25
        assert answer["train_seconds"] == pytest.approx(25 * 0.004, rel=0.01)
        assert answer["barrier_seconds"] == pytest.approx(24 * 0.004, rel=0.01)
        assert answer["step_ms"] == pytest.approx(4, rel=0.01)


def test_a_step_costs_the_clock_next_to_nothing(tmp_path):
    """Less than one percent of a step of two milliseconds."""
    text = (
        "import runpy, time\n"
        f"worker = runpy.run_path({str(jobs.WORKER)!r})\n"
        "clock = worker['Clock'](lambda message: None, 2.0)\n"
        "clock.start()\n"
        "begin = time.perf_counter()\n"
        "for _ in range(100000): clock.tick(1.0)\n"
        "print((time.perf_counter() - begin) / 100000)\n"
    )
    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert float(told.stdout) < 0.01 * 0.002


@pytest.mark.parametrize("series", ["3.6", "3.8", "3.13"])
def test_other_interpreters(tmp_path, series):
    from netglot.runtime import interpreters

    found = interpreters.find_interpreter((series,))
    if found is None:
        pytest.skip(interpreters.advice((series,)))
    with Worker.start(found.path, log=tmp_path / "log") as worker:
        assert worker.hello["python"].startswith(series + ".")
        done = worker.ask("import", imports=["json"])
        assert done.ok and done.answer["resident"] > 1e6


def test_this_machine():
    told = machine.describe()
    assert told.cpu and told.memory_bytes > 1e8 and told.allowed
    assert machine.disturbance().available_bytes > 0


def test_who_keeps_the_processors_busy():
    before = machine.usage()
    later = machine.Usage(before.clock + 10, before.busy + 12, before.own + 5)
    assert machine.others(before, later) == pytest.approx(0.7)
    # Ticks are coarse: somewhat more of our own than of all is nobody else's.
    later = machine.Usage(before.clock + 10, before.busy + 4, before.own + 5)
    assert machine.others(before, later) == 0
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = machine.usage()
    # Both ends may be off by a tick, of 10 ms.
    assert after.own - before.own > 0.27 and after.busy - before.busy >= 0.2
