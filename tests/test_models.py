"""Two models by other hands: what is found, and that nothing is found where nothing is.

The models are PyTorch's; other frameworks are compared in tests/exam.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netglot.check.models import ModelReport
from netglot.check.pairs import Asked, check_pair
from netglot.cli import run
from netglot.report.findings import lines

pytestmark = [pytest.mark.framework, pytest.mark.xdist_group("pytorch")]

LEFT = """
import torch
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 6, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.fc1 = nn.Linear(6 * 3 * 3, 12)
        self.fc2 = nn.Linear(12, 4)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 2)
        x = torch.relu(self.conv2(x))
        x = torch.flatten(x, 1)
        x = self.drop(self.fc1(x)).relu() * 0.5 + 1
        return F.log_softmax(self.fc2(x), dim=-1)
"""

#: The same in other words: names, pieces, what is a layer and what is a function.
RIGHT = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 6, (3, 3), 2),
            nn.ReLU(),
        )
        self.hidden = nn.Linear(54, 12)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(12, 4)

    def forward(self, x):
        x = self.features(x)
        x = x.view(x.size(0), -1)
        x = self.drop(self.hidden(x))
        x = (torch.relu(x) + 2) / 2
        x = self.out(x)
        return x - x.exp().sum(-1, keepdim=True).log()
"""


def _compared(
    folder: Path, old: str = "", new: str = "", **more: object
) -> ModelReport:
    (folder / "left.py").write_text(LEFT)
    assert old in RIGHT
    (folder / "right.py").write_text(RIGHT.replace(old, new) if old else RIGHT)
    given = {"shape": (4, 3, 14, 14), "steps": 1} | more
    return check_pair(Asked(f"{folder}/left.py:Net", f"{folder}/right.py:Net", **given))  # type: ignore[arg-type]


def test_the_same_in_other_words(tmp_path: Path) -> None:
    report = _compared(tmp_path)
    assert report.same, "\n".join(lines(report))
    assert len(report.evaluated.judged) > 8
    assert max(layer.size for layer in report.evaluated.judged) < 1e-12


@pytest.mark.parametrize(
    "old, new, layer, cause",
    [
        ("BatchNorm2d(8)", "BatchNorm2d(8, eps=1e-3)", "bn1", "epsilon 0.001"),
        ("MaxPool2d(2, 2)", "AvgPool2d(2, 2)", "max_pool2d", "AvgPool"),
        (
            "8, 6, (3, 3), 2),\n            nn.ReLU(),",
            "8, 6, (3, 3), 2),",
            "relu_2",
            "missing",
        ),
        ("x = (torch.relu", "x = (torch.nn.functional.gelu", "relu_3", "Gelu"),
        ("6, (3, 3), 2)", "6, (3, 3), 2, bias=False)", "conv2", "bias"),
    ],
)
def test_one_mistake_is_found_and_named(
    tmp_path: Path, old: str, new: str, layer: str, cause: str
) -> None:
    report = _compared(tmp_path, old, new)
    assert not report.same
    first = report.findings[0]
    assert first.left and first.left.name == layer, "\n".join(lines(report))
    assert cause in first.causes[0].what
    assert first.left_over is not None and first.left_over < 1e-9
    assert len(report.findings) == 1


def test_what_nothing_explains_is_said(tmp_path: Path) -> None:
    """Five functions of the right side stand for one layer of the left."""
    report = _compared(tmp_path, "log()", "log() * 2")
    (finding,) = report.findings
    assert finding.left and finding.left.name == "log_softmax"
    assert finding.left_over is None, "nothing is verified"
    assert "16 of 16 values differ; most at" in finding.note
    assert "observation 0, 25% of its numbers" in finding.note


def test_what_only_training_shows(tmp_path: Path) -> None:
    report = _compared(tmp_path, "BatchNorm2d(8)", "BatchNorm2d(8, momentum=0.01)")
    assert report.evaluated.same and not report.same
    assert {moved.what for moved in report.moved} == {
        "running mean",
        "running variance",
    }
    assert report.moved[0].cause == "momentum 0.99 on the right, 0.9 on the left"


def test_a_stopped_gradient(tmp_path: Path) -> None:
    report = _compared(
        tmp_path, "x = self.features(x)", "x = self.features(x).detach()"
    )
    assert report.evaluated.same and not report.same
    assert any("stopped" in moved.cause for moved in report.moved)


def test_weights_that_are_kept(tmp_path: Path) -> None:
    drawn = "super().__init__()\n        torch.manual_seed(3)"
    report = _compared(tmp_path, "super().__init__()", drawn, keep=True, steps=0)
    assert not report.same
    assert "another one on the right" in report.findings[0].causes[0].what


def test_dropout_in_evaluation_is_said_first(tmp_path: Path) -> None:
    mistake = "torch.nn.functional.dropout(self.hidden(x), 0.5)"
    report = _compared(tmp_path, "self.drop(self.hidden(x))", mistake)
    assert "dropout is active in evaluation" in report.unstable[0]
    assert "right.py line" in report.unstable[0]


def test_the_first_that_is_no_number(tmp_path: Path) -> None:
    mistake = "x = self.drop(self.hidden(x) / 0)"
    report = _compared(tmp_path, "x = self.drop(self.hidden(x))", mistake, steps=0)
    assert not report.same
    (line,) = report.broken
    assert line.startswith("right: ") and "is the first to give infinity" in line
    assert "right.py line" in line


def test_a_package_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "left.py").write_text(LEFT)
    (tmp_path / "right.py").write_text("import nowhere_to_be_found\n" + RIGHT)
    command = ["check", f"{tmp_path}/left.py:Net", f"{tmp_path}/right.py:Net"]
    assert run([*command, "--shape", "4,3,14,14"]) == 2
    said = capsys.readouterr().err
    assert "right: No module named 'nowhere_to_be_found'" in said
    assert "--right-python" in said


def test_a_weight_of_another_size(tmp_path: Path) -> None:
    """One layer is named, and not those after it, whose sizes follow."""
    wider = RIGHT.replace("nn.Linear(54, 12)", "nn.Linear(54, 13)")
    (tmp_path / "left.py").write_text(LEFT)
    (tmp_path / "right.py").write_text(wider.replace("(12, 4)", "(13, 4)"))
    report = check_pair(
        Asked(
            f"{tmp_path}/left.py:Net", f"{tmp_path}/right.py:Net", shape=(4, 3, 14, 14)
        )
    )
    (finding,) = report.findings
    assert finding.left and finding.left.name == "fc1"
    assert finding.causes[0].what == "features 13 on the right, 12 on the left"


def test_a_model_that_raises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "left.py").write_text(LEFT)
    (tmp_path / "right.py").write_text(RIGHT.replace("54, 12", "53, 12"))
    command = ["check", f"{tmp_path}/left.py:Net", f"{tmp_path}/right.py:Net"]
    assert run([*command, "--shape", "4,3,14,14"]) == 2
    said = capsys.readouterr().err
    assert "right" in said and "mat1 and mat2" in said and "view" in said


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "left.py").write_text(LEFT)
    (tmp_path / "right.py").write_text(RIGHT.replace("Norm2d(8)", "Norm2d(8, 1e-3)"))
    command = ["check", f"{tmp_path}/left.py:Net", f"{tmp_path}/right.py:Net"]
    assert run([*command, "--shape", "4,3,14,14"]) == 1
    said = capsys.readouterr().out
    assert "DIFFERENT at layer 2" in said and "[verified:" in said
    assert "fix:   nn.BatchNorm2d(8)   right.py line" in said
    assert run([*command, "--shape", "4,3,14,14", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["findings"][0]["causes"][0]["attribute"] == "epsilon"
    assert run([*command]) == 2
    assert "--shape" in capsys.readouterr().err


def test_a_network_against_a_definition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        """
import torch
from torch import nn


def build():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10),
    )
"""
    )
    assert run(["check", f"{tmp_path}/mine.py:build", "--against", "mnist-fcn"]) == 0
    assert "THE SAME" in capsys.readouterr().out
