"""Types shorter than float32: the setting that brought them in is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from netglot import backends
from netglot.check.compare import Difference
from netglot.check.gate import Verdict
from netglot.check.pairs import Asked, check_pair
from netglot.check.precision import Setting, in_words
from netglot.check.programs import Checked
from netglot.frontends.watch import precision
from netglot.report import verdicts
from netglot.report.findings import lines, to_json
from netglot.runtime import envs
from netglot.runtime.jobs import Worker

TORCH = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * 6 * 6, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)
"""
#: The first fully connected layer alone is given bfloat16.
CAST = TORCH.replace(
    "        x = torch.relu(self.fc1(torch.flatten(x, 1)))\n",
    '        with torch.autocast("cpu", dtype=torch.bfloat16):\n'
    "            x = self.fc1(torch.flatten(x, 1))\n"
    "        x = torch.relu(x).float()\n",
)
FLAX = """
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.fc1 = nnx.Linear(288, 24, dtype=jnp.bfloat16, rngs=rngs)
        self.fc2 = nnx.Linear(24, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv(x))
        x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
        x = nnx.relu(self.fc1(x))
        return self.fc2(x.astype(self.conv.kernel[...].dtype))


def build():
    return Net(nnx.Rngs(0))
"""
KERAS = """
import keras
from keras import layers


def build():
    keras.config.set_dtype_policy("mixed_bfloat16")
    return keras.Sequential([
        keras.Input((6, 6, 3)),
        layers.Conv2D(8, 3, padding="same", activation="relu", name="conv"),
        layers.Permute((3, 1, 2)),
        layers.Flatten(),
        layers.Dense(24, activation="relu", name="fc1"),
        layers.Dense(5, name="fc2"),
    ])
"""


@pytest.mark.framework
@pytest.mark.xdist_group("pairs")
@pytest.mark.parametrize(
    "source, name, cause, fix",
    [
        (CAST, "Net", "torch.autocast('cpu') is torch.bfloat16", "enabled=False"),
        (FLAX, "build", "dtype is bfloat16", "dtype='float32' of that layer"),
        (KERAS, "build", "dtype policy is mixed_bfloat16", "set_dtype_policy('float32"),
    ],
    ids=["autocast", "dtype of a layer", "policy"],
)
def test_a_shorter_type_is_named_by_its_setting(
    tmp_path: Path, source: str, name: str, cause: str, fix: str
) -> None:
    """Autocast leaves float64 alone: there float32 is compared as well."""
    (tmp_path / "left.py").write_text(TORCH)
    (tmp_path / "right.py").write_text(source)
    asked = Asked(
        f"{tmp_path}/left.py:Net", f"{tmp_path}/right.py:{name}", shape=(4, 3, 6, 6)
    )
    report = check_pair(asked)
    said = "\n".join(lines(report))
    assert not report.same
    finding = next(f for f in report.findings if f.left and f.left.name == "fc1")
    assert "rounded to bfloat16 on the right" in finding.causes[0].what, said
    assert cause in finding.causes[0].what, said
    # Run again with the setting changed.
    assert finding.left_over is not None and finding.left_over < 1e-6, said
    assert fix in said
    content = to_json(report)["settings"]
    assert any(cause.startswith(item["name"]) for item in content["right"])
    assert not any(item["active"] for item in content["left"])


@pytest.mark.framework
@pytest.mark.xdist_group("pytorch")
def test_what_a_worker_says_of_its_settings(tmp_path: Path) -> None:
    """What is set is found; whether it acts on this processor is measured."""
    env = backends.get("pytorch").env
    (tmp_path / "set.py").write_text(
        "import torch\ntorch.set_float32_matmul_precision('medium')\n"
    )
    with Worker.start_for(
        env, envs.prepare(env, "test"), log=tmp_path / "log", name="test"
    ) as worker:
        worker.ask("import", imports=["torch"], program=tmp_path / "set.py")
        answer = worker.ask(
            "look",
            package=str(Path(precision.__file__).parent),
            function="settings",
            arguments={},
        )
    assert answer.ok, answer.error
    found = {item.name: item for item in Setting.read(answer.answer["settings"])}
    inside = found["torch.backends.mkldnn.matmul.fp32_precision"]
    assert inside.value == "bf16" and inside.type == "bfloat16"
    assert inside.change == f"{inside.name} = 'ieee'"
    gpu = found["torch.backends.cuda.matmul.fp32_precision"]
    assert gpu.type == "TF32" and not gpu.active, "there is no such device"


@pytest.mark.text
def test_words_for_a_type() -> None:
    assert precision.type_of("mixed_bfloat16") == "bfloat16"
    assert precision.type_of("torch.float16") == "float16"
    assert precision.type_of("BF16_BF16_F32") == "bfloat16"
    assert precision.type_of("tf32") == "TF32"
    for full in ("float32", "ieee", "highest", "none", None):
        assert precision.type_of(full) == ""


@pytest.mark.text
def test_layers_of_one_setting_are_one_line() -> None:
    one = Setting("dtype", "bfloat16", "bfloat16", "dtype='float32'", "fc1", False)
    two = Setting("dtype", "bfloat16", "bfloat16", "dtype='float32'", "fc2", False)
    off = Setting("a", "tf32", "TF32", "b", active=False)
    assert list(in_words([one, off, two])) == [
        "dtype is bfloat16 (fc1, fc2); full precision by dtype='float32'"
    ]


@pytest.mark.text
def test_a_program_in_a_shorter_type_has_its_setting_named() -> None:
    tf32 = precision.setting("a.fp32_precision", "tf32", "TF32", "a = 'ieee'")
    off = precision.setting("b", "tf32", "TF32", "b = 'ieee'", active=False)
    verdict = Verdict(
        False,
        (
            Difference("output of conv1 (float64)", 1e-15, 1e-10),
            Difference("output of conv1", 4e-4, 1e-5),
        ),
        settings=(tf32, off),
    )
    both = Verdict.of_all([verdict, verdict])
    assert both.settings == (tf32, off)
    item = Checked("x", "X", "1", "different", "", both)
    said = verdicts.reasons(item)
    assert "    a.fp32_precision is tf32; full precision by a = 'ieee'" in said
    assert not any("b is tf32" in line for line in said)
    assert item.to_json()["settings"][0]["value"] == "tf32"
