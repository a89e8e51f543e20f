"""Environments: built once, by one, and never half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from netglot.backend import Env, Need, Shim
from netglot.errors import UserError
from netglot.runtime import envs, interpreters, jobs, shims
from netglot.runtime.envs import EnvError

SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"
SIX = Env((SERIES,), ("six==1.16.0",), ("six",))

# Builds the environment of SIX and tells its phases, in a process of its own.
BUILDER = f"""
import sys
from netglot.backend import Env, Need, Shim
from netglot.runtime import envs

def tell(name, phase, line):
    print(phase, flush=True)

envs.prepare(Env(({SERIES!r},), ("six==1.16.0",), ("six",)), "six", tell)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NETGLOT_CACHE", str(folder))
    return folder


def builder() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER], stdout=subprocess.PIPE, text=True
    )


def test_build_then_ready(cache, monkeypatch):
    phases = []
    assert envs.ready(SIX) is None
    assert envs.state(SIX).state == "can be built"
    first = envs.prepare(SIX, "six", lambda *told: phases.append(told))
    assert first.versions["six"] == "1.16.0"
    assert first.python.startswith(SERIES)
    assert first.interpreter.is_relative_to(cache / "envs")
    assert first.seconds > 0 and first.megabytes > 1
    order = list(dict.fromkeys(phase for _, phase, _ in phases))
    assert order == ["creating", "installing", "importing", "ready"]
    assert any("six" in line for _, phase, line in phases if phase == "installing")

    record = json.loads((cache / "envs" / first.key / "ready.json").read_text())
    assert record["specification"]["requirements"] == ["six==1.16.0"]
    assert record["versions"] == dict(first.versions)

    # What is ready is found without any process.
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", None)
        assert envs.prepare(SIX, "six") == first
    # Another backend of the same specification has the same environment.
    assert envs.prepare(replace(SIX, variables={"A": "b"}), "seven") == first
    told = envs.state(SIX)
    assert told.state == "ready" and "MB" in told.detail
    assert envs.everything() == (first,)
    assert envs.remove(SIX)
    assert not envs.remove(SIX)
    assert envs.state(SIX).state == "can be built"


def test_the_name_says_what_is_in_it():
    key = envs.specification(SIX, SERIES).key
    assert key.startswith(f"six-1.16.0-py{SERIES}-")
    for other in (
        replace(SIX, requirements=("six==1.15.0",)),
        replace(SIX, pip_arguments=("--no-build-isolation",)),
    ):
        assert envs.specification(other, SERIES).key != key
    pair = Env((SERIES,), ("tensorflow==2.21.0", "keras==3.15.1"), ("keras",))
    turned = replace(pair, requirements=pair.requirements[::-1])
    assert envs.specification(pair, SERIES) == envs.specification(turned, SERIES)
    # What is set when programs run is no matter of what is installed.
    same = replace(SIX, variables={"X": "1"}, threads=("NPROC",), imports=())
    assert envs.specification(same, SERIES).key == key


@pytest.mark.parametrize("phase", ["creating", "installing", "importing"])
def test_a_build_that_is_killed_is_never_taken_for_finished(cache, phase):
    process = builder()
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == phase:
            break
    time.sleep(0.3 if phase == "installing" else 0)
    note = next((cache / "envs").glob("*.building"), None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert envs.ready(SIX) is None
    assert any((cache / "envs").glob("six-*"))
    left = json.loads(note.read_text())["pid"] if note and note.exists() else None
    phases = []
    found = envs.prepare(SIX, "six", lambda name, phase, line: phases.append(phase))
    assert found.versions["six"] == "1.16.0"
    assert "creating" in phases
    if left is not None:
        # The pip of the dead builder does not go on writing.
        assert not Path(f"/proc/{left}/cmdline").exists() or not (
            Path(f"/proc/{left}/cmdline").read_bytes()
        )


def test_leftovers_are_wiped(cache):
    folder = cache / "envs" / envs.specification(SIX, SERIES).key
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "half").write_text("a file of a build that stopped")
    (folder / "ready.json.partial").write_text("{}")
    assert envs.ready(SIX) is None
    envs.prepare(SIX, "six")
    assert not (folder / "lib" / "half").exists()


def test_a_damaged_ready_file_and_a_lost_interpreter_mean_not_ready(cache):
    found = envs.prepare(SIX, "six")
    record = cache / "envs" / found.key / "ready.json"
    text = record.read_text()
    record.write_text(text[: len(text) // 2])
    assert envs.ready(SIX) is None
    record.write_text(text)
    assert envs.ready(SIX) == found
    found.interpreter.unlink()
    assert envs.ready(SIX) is None


def test_two_processes_build_once():
    one, two = builder(), builder()
    phases = [process.communicate()[0].split() for process in (one, two)]
    assert one.returncode == two.returncode == 0
    assert sorted(p.count("creating") for p in phases) == [0, 1]
    assert all(p[-1] == "ready" for p in phases)
    assert any("waiting" in p for p in phases)


def test_several_at_once_each_with_its_own_fate():
    broken = replace(SIX, imports=("six", "no_such_module"), pip_arguments=("-q",))
    answers = envs.prepare_all(
        {"a": SIX, "broken": broken, "b": replace(SIX, variables={"X": "1"})}
    )
    assert list(answers) == ["a", "broken", "b"]
    assert answers["a"] == answers["b"]
    error = answers["broken"]
    assert isinstance(error, EnvError)
    assert "importing failed" in str(error)
    assert "No module named 'no_such_module'" in str(error)
    assert "stay usable" in str(error)


def test_ctrl_c_ends_the_builds(monkeypatch):
    """No pip goes on, and the call does not wait for the others."""
    started = threading.Event()

    def tell(name, phase, line):
        if phase == "installing":
            started.set()

    def interrupt():
        started.wait(60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    several = {
        f"e{i}": replace(SIX, pip_arguments=("--retries", str(i))) for i in range(4)
    }
    with pytest.raises(KeyboardInterrupt):
        envs.prepare_all(several, 2, tell)
    assert not any(envs.ready(env) for env in several.values())


def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what pip is told by the machine's own settings."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def test_no_network(monkeypatch, cache):
    no_index(monkeypatch)
    env = replace(
        SIX,
        pip_arguments=(
            "--index-url",
            "http://127.0.0.1:9/simple",
            "--retries",
            "1",
            "--no-cache-dir",
        ),
    )
    with pytest.raises(EnvError) as caught:
        envs.prepare(env, "seven")
    message = str(caught.value)
    assert "The environment of seven could not be built: installing failed" in message
    assert "cannot be reached" in message
    assert "starts clean" in message
    log = cache / "envs" / (envs.specification(env, SERIES).key + ".log")
    assert str(log) in message
    assert "six==1.16.0" in log.read_text()
    assert envs.ready(env) is None
    assert not (cache / "envs" / envs.specification(env, SERIES).key).exists()


def test_a_package_that_is_not_there(monkeypatch, tmp_path):
    no_index(monkeypatch)
    env = replace(SIX, pip_arguments=("--no-index", "--find-links", str(tmp_path)))
    with pytest.raises(EnvError, match=r"has no six==1\.16\.0 for this Python"):
        envs.prepare(env, "six")


def test_no_room_is_named(tmp_path):
    lines = ["ERROR: Could not install packages due to an OSError: [Errno 28] No space"]
    message = envs.failure("six", "installing", lines, 1, tmp_path / "log")
    assert "disk is full" in message and "NETGLOT_CACHE" in message


def test_no_room(tmp_path, monkeypatch):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small disk")
    try:
        monkeypatch.setenv("NETGLOT_CACHE", str(folder))
        with pytest.raises(EnvError, match=r"disk is full|No space left"):
            envs.prepare(SIX, "six")
        assert envs.ready(SIX) is None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETGLOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvError, match="NETGLOT_CACHE"):
        envs.prepare(SIX, "six")


def test_shims_are_installed_and_run(monkeypatch, tmp_path):
    shim = Shim("mended", "six says something else", "start")
    made = Shim("made", "a file is lacking", "build")
    package = Shim("stand_in", "the framework cannot be installed", "package")
    monkeypatch.setattr(shims, "FOLDER", tmp_path)
    after = Path(shims.__file__).parent / "netglot_after.py"
    (tmp_path / after.name).write_text(after.read_text())
    (tmp_path / "made.py").write_text(
        "import sys\nopen(sys.argv[1] + '/made', 'w').close()\n"
    )
    (tmp_path / "mended.py").write_text(
        "import netglot_after, sys\n"
        "assert 'six' not in sys.modules\n"
        "netglot_after.call('six', lambda six: setattr(six, 'PY3', 'mended'))\n"
    )
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "__init__.py").write_text("from .part import word\n")
    (tmp_path / "stand_in" / "part.py").write_text("word = 'stood'\n")
    env = replace(
        SIX, shims=(shim, made, package), variables={"PLACE": "{folder}/made"}
    )
    plain = envs.specification(SIX, SERIES)
    assert envs.specification(env, SERIES).key != plain.key
    found = envs.prepare(env, "six")
    folder = envs.folder_of(found.interpreter)
    assert folder is not None and (folder / "made").is_file()
    variables = jobs.variables_for(env, found.interpreter)
    done = subprocess.run(
        [
            str(found.interpreter),
            "-c",
            "import os, sys; early = 'six' in sys.modules; import six; "
            "import stand_in; "
            "print(early, six.PY3, os.path.exists(os.environ['PLACE']), stand_in.word)",
        ],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "mended", "True", "stood"]
    # An interpreter of the user's has no such folder.
    assert "PLACE" not in jobs.variables_for(env, Path(sys.executable))
    # A shim that is written otherwise makes another environment.
    (tmp_path / "stand_in" / "part.py").write_text("word = 'standing'\n")
    assert envs.ready(env) is None


def test_a_missing_command_is_an_explained_gap(monkeypatch):
    need = Need("no-such-compiler", "it compiles", "apt install compiler")
    env = replace(SIX, needs=(need,))
    told = envs.state(env)
    assert told.state == "lacking"
    words = (
        "needs the command no-such-compiler (it compiles): for example "
        "`apt install compiler`"
    )
    assert told.detail == words
    with pytest.raises(EnvError, match="no-such-compiler"):
        envs.prepare(env, "six")
    assert envs.state(replace(SIX, needs=(Need("sh", "", ""),))).state == "can be built"


def test_a_missing_interpreter_is_an_explained_gap():
    env = replace(SIX, python=("2.4",))
    told = envs.state(env)
    assert told.state == "lacking"
    assert "needs Python 2.4: for example `" in told.detail
    assert "install 2.4`" in told.detail
    with pytest.raises(EnvError, match=r"six needs Python 2\.4"):
        envs.prepare(env, "six")


def test_interpreters_are_found_and_asked():
    found = interpreters.find_interpreter(("2.4", SERIES))
    assert found is not None and found.series == SERIES and found.builds
    assert interpreters.ask(Path("/no/such/python")) is None
    assert interpreters.ask(Path("/bin/false")) is None


@pytest.mark.parametrize("series", ["3.6", "3.13"])
def test_old_and_new_pythons(series):
    env = replace(SIX, python=(series,))
    if envs.state(env).state == "lacking":
        pytest.skip(envs.state(env).detail)
    assert envs.prepare(env, "six").versions["six"] == "1.16.0"


def test_here(tmp_path):
    env = Env((SERIES,), ("numpy==2.4.6",), ("numpy",))
    found = envs.here(env, sys.executable, "numpy")
    assert found.provider == "here"
    assert found.interpreter == Path(sys.executable)
    assert "numpy" in found.versions
    lacking = replace(env, imports=("numpy", "no_such_framework"))
    with pytest.raises(EnvError) as caught:
        envs.here(lacking, sys.executable, "numpy")
    assert "does not import no_such_framework" in str(caught.value)
    assert "pip install 'numpy==2.4.6'" in str(caught.value)
    with pytest.raises(EnvError, match="is not a Python"):
        envs.here(env, tmp_path / "nothing", "numpy")


def test_another_version():
    env = Env((SERIES,), ("mlx[cpu]==0.32.0", "numpy"), ("mlx",), lock="mlx")
    other = envs.with_version(env, "0.31.2")
    assert other.requirements == ("mlx[cpu]==0.31.2", "numpy")
    assert other.lock == ""
    # What is pinned anyway is not built twice.
    assert envs.with_version(env, "0.32.0") is env
    for wrong in ("", "1.0 --index-url=x", "-r file", "1;2"):
        with pytest.raises(UserError, match="is not a version"):
            envs.with_version(env, wrong)


def test_the_list_of_pins(tmp_path, monkeypatch):
    monkeypatch.setattr(envs, "LOCKS", tmp_path / "locks")
    loose = replace(SIX, requirements=("six",), lock="six")
    assert envs.lock_pins(loose, SERIES) == ()
    built = envs.prepare(SIX, "six")
    built = replace(built, versions={**built.versions, "other": "1.0+cpu"})
    path = envs.write_lock(loose, built)
    lines = path.read_text().splitlines()
    assert lines[1] == f"# python {SERIES}"
    assert {"other==1.0", "six==1.16.0"} <= set(lines)
    assert not any(line.startswith("pip==") for line in lines)
    assert envs.lock_pins(loose, SERIES) == tuple(lines[2:])
    assert envs.lock_pins(loose, "3.0") == ()
    # pip is held to the list, and the list is part of the name.
    assert envs.specification(loose, SERIES) != envs.specification(
        replace(loose, lock=""), SERIES
    )
    assert envs.prepare(loose, "six").versions["six"] == "1.16.0"
    with pytest.raises(UserError, match="names no list"):
        envs.write_lock(SIX, built)


def test_every_list_of_pins_can_be_read():
    for path in envs.LOCKS.glob("*.txt"):
        lines = path.read_text().splitlines()
        assert any(line.startswith("# python 3.") for line in lines)
        for line in lines:
            assert line.startswith("# ") or line.count("==") == 1
            assert "+" not in line
