"""The command line: what it answers to good and to bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from netglot import workloads
from netglot.cli import run
from netglot.cli.options import frameworks

MINE = """
from netglot import Builder, DataSpec, Recipe, SGD, SoftmaxCrossEntropy, Workload
from netglot.ops import Conv, Dense, Flatten, Relu


def workload():
    net = Builder("small-net")
    x = net.input("image", "NCHW", (1, 28, 28))
    x = net.add(Conv(3, (5, 5), stride=3), x, name="conv")
    x = net.add(Relu(), x, name="relu")
    x = net.add(Flatten(), x, name="flatten")
    x = net.add(Dense(10), x, name="fc")
    return Workload(
        "small-net",
        "A small network",
        net.graph(x),
        Recipe(SoftmaxCrossEntropy(), SGD(0.1), batch_size=100, epochs=2),
        DataSpec("mnist", "images", (1, 28, 28), classes=10),
    )
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(MINE)
    return path


@pytest.mark.text
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["race", "mnist-cn"], "Did you mean"),
        (["race", "mnist-cnn", "--on", "pytorh"], "pytorch"),
        (["race", "mnist-cnn", "--on", "pytorch,pytorch"], "twice"),
        (["race", "mnist-cnn", "--on", ""], "No framework"),
        (["race", "mnist-cnn", "--on", "pytorch==two words"], "not a version"),
        (["race", "mnist-cnn", "--limit", "0"], "--limit 0: at least 1"),
        (["race", "mnist-cnn", "--epochs", "0"], "--epochs 0: at least 1"),
        (["race", "mnist-cnn", "--timeout", "-1"], "--timeout"),
        (["race", "mnist-cnn", "--limit", "100"], "100 observations are left"),
        (["race", "mnist-cnn", "--data", "/nowhere"], "/nowhere does not exist"),
        (["race", "imdb-gru"], "imdb needs reviews"),
        (["race", "mnist-cnn", "--python", "/no/python"], "no such program"),
        (["race"], "Name a workload"),
        (["race", "--resume", "/nowhere"], "not the folder of a race"),
        (["race", "mnist-cnn", "--nonsense"], "No such option"),
        (["race", "nofile.py"], "no file nofile.py"),
        (["show", "mnist-cnn", "--format", "pdf"], "format"),
        (["show", "mnist-cnn", "--format", "ipynb"], "one framework"),
        (["show", "mnist-cnn", "--in", "pytorch", "-o", "/no/x"], "cannot be written"),
        (["write", "mnist-cnn", "--for", "pytorch", "-o", "/dev/null/x"], "written"),
        (["summary", "mnist-cnn", "--batch", "0"], "--batch 0"),
        (["rase"], "Did you mean race"),
        (["data", "prepare", "minst"], "Did you mean mnist"),
        (["report", "/nowhere"], "/nowhere"),
        (["env", "add", "pytoch"], "Did you mean pytorch"),
    ],
)
def test_a_mistake_is_told_in_one_paragraph(
    words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out, error = capfd.readouterr()
    assert says in error, error
    assert "Traceback" not in error + out


@pytest.mark.text
def test_a_file_without_a_workload(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.py"
    path.write_text("def network():\n    return 3\n")
    assert run(["summary", str(path)]) == 2
    assert "has no function 'workload'" in capfd.readouterr().err
    assert run(["summary", f"{path}:network"]) == 2
    assert "returned a int" in capfd.readouterr().err


@pytest.mark.text
def test_lists(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["workloads"]) == 0
    out = capfd.readouterr().out
    assert "cifar-vgg" in out and "imdb-gru" in out
    assert run(["env", "list"]) == 0
    assert "pytorch" in capfd.readouterr().out
    assert run(["data", "list"]) == 0
    assert "digits" in capfd.readouterr().out


@pytest.mark.text
def test_frameworks_and_their_pages(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["frameworks"]) == 0
    assert "NCHW" not in (out := capfd.readouterr().out) and "pytorch" in out
    assert run(["frameworks", "main", "--write", str(tmp_path)]) == 0
    assert "[PyTorch](pytorch.md)" in (tmp_path / "README.md").read_text()
    page = (tmp_path / "pytorch.md").read_text()
    assert "torch==2.13.0" in page and "class MnistLenet(nn.Module)" in page
    assert "AvgPool: PyTorch counts padded zeros unless told not to." in page
    assert "- GRU: reset after, bias two; or reset after, bias none" in page
    assert "| BatchNorm | epsilon | 1e-05 |" in page
    assert run(["frameworks", "pytoch"]) == 2
    assert "Did you mean pytorch" in capfd.readouterr().err


@pytest.mark.text
def test_the_pages_in_the_repository_are_those_of_today(tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "docs" / "frameworks"
    assert run(["frameworks", "all", "--write", str(tmp_path)]) == 0
    new = {path.name: path.read_text() for path in tmp_path.iterdir()}
    old = {path.name: path.read_text() for path in kept.iterdir()}
    stale = sorted(name for name in old | new if old.get(name) != new.get(name))
    assert not stale, f"`make docs` writes these anew: {stale}"


@pytest.mark.text
def test_groups_of_frameworks() -> None:
    main = frameworks(None)
    assert main == frameworks("main") and "pytorch" in main
    assert set(main) < set(frameworks("all"))
    assert frameworks("main, chainer") == (*main, "chainer")
    assert set(frameworks("ready")) <= set(frameworks("all"))


@pytest.mark.text
def test_summary(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["summary", "cifar-vgg"]) == 0
    out = capfd.readouterr().out
    # 3*50*9+50, 50*50*9+50, 50*100*9+100, 100*100*9+100, 6400*512+512, 512*10+10.
    assert f"{1400 + 22550 + 45100 + 90100 + 3277312 + 5130:,}" in out


@pytest.mark.text
def test_show_one_and_two(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["show", "mnist-cnn", "--in", "pytorch", "--format", "py"]) == 0
    assert "class MnistCnn(nn.Module)" in capfd.readouterr().out
    for form in ("text", "md", "html"):
        path = tmp_path / f"both.{form}"
        words = ["show", "mnist-cnn", "--in", "pytorch,flax", "--format", form]
        assert run([*words, "-o", str(path)]) == 0
        text = path.read_text()
        assert "Conv2d" in text and "nnx" in text
    path = tmp_path / "gru.ipynb"
    words = ["show", "imdb-gru", "--in", "keras-torch", "--format", "ipynb"]
    assert run([*words, "-o", str(path)]) == 0
    assert json.loads(path.read_text())["nbformat"] == 4


@pytest.mark.text
def test_write(tmp_path: Path, mine: Path) -> None:
    out = tmp_path / "out"
    words = ["write", str(mine), "--for", "pytorch,flax", "-o", str(out)]
    assert run(words) == 0
    torch, flax = (
        np.load(out / f"small_net_{name}_weights.npz") for name in ("pytorch", "flax")
    )
    # The same numbers, each in its own layout.
    kernels = [
        next(a[n] for n in a if "conv" in n and a[n].ndim == 4) for a in (torch, flax)
    ]
    assert np.array_equal(kernels[0].transpose(2, 3, 1, 0), kernels[1])
    assert "netglot data prepare mnist" in (out / "README.md").read_text()


@pytest.mark.text
def test_the_way_out_of_a_fault(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[str]:
        raise RuntimeError("a fault")

    monkeypatch.setattr(workloads, "names", broken)
    assert run(["workloads"]) == 70
    assert "Please report it" in capfd.readouterr().err


@pytest.mark.framework
def test_a_written_program_runs_without_netglot(tmp_path: Path, mine: Path) -> None:
    """Program, weights and data alone, in the framework's own interpreter."""
    from netglot import backends
    from netglot.runtime import envs

    out = tmp_path / "out"
    assert run(["write", str(mine), "--for", "numpy", "-o", str(out)]) == 0
    assert run(["data", "prepare", "mnist", "-o", str(out / "mnist.npz")]) == 0
    environment = envs.prepare(backends.get("numpy").env, "numpy")
    done = subprocess.run(
        [
            str(environment.interpreter),
            "-I",
            "small_net_numpy.py",
            "--weights",
            "small_net_numpy_weights.npz",
            "--save",
            "trained.npz",
        ],
        cwd=out,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2 and "accuracy" in lines[1]
    before = np.load(out / "small_net_numpy_weights.npz")
    after = np.load(out / "trained.npz")
    assert set(before) == set(after)
    assert all(not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.text
def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "netglot", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "0.1.0" in done.stdout
