"""What is peculiar to the programs in Torch7, and to Lua."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marks
from cases import CASES
from netglot import backends, reference, workloads
from netglot.check.gate import gate
from netglot.data import DataSpec, t7
from netglot.emit import GapError, Settings, emit
from netglot.errors import UserError
from netglot.graph import Builder, Graph
from netglot.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Op,
    Pad,
    Reshape,
    Slice,
    Split,
    Transpose,
)
from netglot.recipe import SGD, Adam, MeanSquaredError, Optimizer, Recipe
from netglot.report import side_by_side
from netglot.runtime import envs
from netglot.runtime.jobs import Worker
from netglot.script import LUA
from netglot.weights import from_program, to_program
from netglot.workloads import Workload
from netglot.writing import write

TORCH7 = backends.get("torch7")
GOLDEN = Path(__file__).parent.parent / "golden"
TASKS = workloads.names()


def _workload(graph: Graph, optimizer: Optimizer | None = None) -> Workload:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    forms: Any = {"BatchNorm": ({"unbiased": True},)}
    return Workload(graph.name, graph.name, graph, recipe, data, forms=forms)


def _case(name: str, optimizer: Optimizer | None = None) -> str:
    return emit(_workload(CASES[name].graph, optimizer), TORCH7).source


def _chain(shape: tuple[int, ...], *ops: Op) -> str:
    net = Builder("chain")
    x = net.input("x", {1: "NF", 2: "NTF", 3: "NCHW"}[len(shape)], shape)
    for op in ops:
        x = net.add(op, x)
    return emit(_workload(net.graph(x)), TORCH7).source


def _source(name: str) -> str:
    return emit(workloads.get(name), TORCH7).source


@pytest.mark.text
@pytest.mark.parametrize("task", TASKS)
def test_a_program_is_lua(task: str) -> None:
    if shutil.which("luajit") is None:
        pytest.skip("luajit is not here: for example `apt install luajit`")
    source = emit(workloads.get(task), TORCH7).source
    done = subprocess.run(
        ["luajit", "-bl", "-"], input=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # What is set without being declared is a function of the program.
    functions = set(re.findall(r"^function (\w+)\(", source, re.MULTILINE))
    assert set(re.findall(r'GSET .*; "(\w+)"', done.stdout)) <= functions
    given = "torch nn optim require ipairs print string table math unpack arg"
    known = functions | set(given.split())
    assert set(re.findall(r'GGET .*; "(\w+)"', done.stdout)) <= known


@pytest.mark.text
@pytest.mark.parametrize("task", TASKS)
def test_contract(task: str) -> None:
    program = emit(workloads.get(task), TORCH7)
    found = dict(re.findall(r"^function (\w+)\((.*)\)$", program.source, re.MULTILINE))
    contract = {
        "load_data": "path",
        "build": "seed",
        "load_weights": "model, path",
        "save_weights": "model, path",
        "predict": "model, x",
        "main": "",
    }
    if program.recipe:
        contract["evaluate"] = "model, x, y"
        contract["train_step"] = "model, trainer, x, y"
        contract["train"] = "model, trainer, x, y, epochs, seed, validation, on_step"
    else:
        contract["extract"] = "model, x"
    assert contract.items() <= found.items()
    lines = program.source.splitlines()
    assert max(map(len, lines)) <= 88
    assert "netglot" not in program.source and "\t" not in program.source
    assert program.name.endswith(".lua")


@pytest.mark.text
def test_width_comes_before_height() -> None:
    source = _chain((2, 9, 8), Conv(3, (3, 5), stride=(1, 2), padding=(1, 2)))
    assert "nn.SpatialConvolution(2, 3, 5, 3, 2, 1, 2, 1)" in source
    source = _chain((2, 9, 8), Conv(3, (3, 3), dilation=(1, 2), bias=False))
    assert (
        "nn.SpatialDilatedConvolution(2, 3, 3, 3, 1, 1, 0, 0, 2, 1):noBias()" in source
    )
    # Sides that differ are padded beforehand: left, right, top, bottom.
    source = _chain((2, 9, 8), Conv(3, (3, 3), padding=((0, 1), (2, 3))))
    assert "nn.SpatialZeroPadding(2, 3, 0, 1)" in source


@pytest.mark.text
def test_pools() -> None:
    assert "nn.SpatialMaxPooling(2, 2))" in _chain((3, 8, 8), MaxPool((2, 2)))
    assert "SpatialMaxPooling(2, 3, 1, 1))" in _chain((3, 8, 8), MaxPool((3, 2), 1))
    assert "(2, 2):ceil()" in _chain((3, 8, 7), MaxPool((2, 2), ceil=True))
    own = _chain((3, 8, 8), AvgPool((2, 2), 2, 1))
    assert "nn.SpatialAveragePooling(2, 2, 2, 2, 1, 1):setCountExcludePad()" in own
    assert "Exclude" not in _chain((3, 8, 8), AvgPool((2, 2), 2, 1, count_padding=True))
    with pytest.raises(GapError, match="at most half a window"):
        _chain((3, 8, 8), MaxPool((2, 2), 2, (2, 0)))


@pytest.mark.text
def test_a_normalisation_is_told_the_share_of_the_new() -> None:
    def norm(**given: Any) -> str:
        return _chain((3, 4, 4), Conv(2, (1, 1)), BatchNorm(unbiased=True, **given))

    assert "nn.SpatialBatchNormalization(2))" in norm()
    assert "nn.SpatialBatchNormalization(2, 1e-5, 0.3)" in norm(momentum=0.7)
    assert "(2, 0.001)" in norm(epsilon=1e-3)
    bare = norm(scale=False, shift=False)
    assert "nn.SpatialBatchNormalization(2, 1e-5, 0.1, false)" in bare
    with pytest.raises(GapError, match="scales and shifts, or neither"):
        norm(shift=False)
    # Torch7 draws the scales at random.
    assert "layer.weight:fill(1)" in norm()
    assert "'running_mean', 'running_var'" in norm()


@pytest.mark.text
def test_a_view_is_of_what_lies_in_order() -> None:
    view = _chain((3, 4, 4), Conv(2, (3, 3)), Flatten(), Dense(2))
    assert "nn.View(8):setNumInputDims(3)" in view
    turned = _chain((5, 4), Transpose("NFT"), Reshape("F", (20,)))
    assert "nn.Transpose({2, 3})" in turned and "nn.Reshape(20, true)" in turned


@pytest.mark.text
def test_elements_count_from_1() -> None:
    assert "nn.Narrow(2, 2, 2)" in _chain((5,), Slice("F", 1, 3))
    assert LUA.first == 1
    assert "data.y_train:add(1)" in _source("mnist-cnn")
    assert "data.x_train:add(1)" in _source("imdb-gru")
    assert "add(1)" not in _source("mnist-autoencoder")


@pytest.mark.text
def test_padding_in_front_is_negative() -> None:
    source = _chain((3, 4, 4), Pad(((1, 2), (0, 0)), 0.5))
    assert "nn.Padding(3, -1, nil, 0.5)" in source
    assert "nn.Padding(3, 2, nil, 0.5)" in source


@pytest.mark.text
def test_sequences_are_steps_by_batch() -> None:
    source = _source("imdb-lstm")
    assert "require 'rnn'" in source
    around = "nn.Transpose({1, 2}))\n    model:add(nn.SeqLSTM(125, 100))"
    assert around in source and "model:add(nn.Select(1, -1))" in source
    weights = {w.path: w for w in emit(workloads.get("imdb-lstm"), TORCH7).weights}
    assert weights["lstm.weight"].gates == ("ifgo", "ifog")
    assert weights["lstm.weight"].shape == (225, 400)
    # rnn begins with an update gate that is open.
    assert "layer.bias:zero()" in _source("imdb-gru")
    assert "fill(1)" not in _source("imdb-gru")


@pytest.mark.text
def test_optimizers() -> None:
    nesterov = _case("mlp", SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4))
    # Left out, the dampening would be as large as the momentum.
    assert (
        "{learningRate = 0.1, momentum = 0.9, dampening = 0, nesterov = true, "
        "weightDecay = 0.0005}" in nesterov
    )
    assert "trainer.config = {learningRate = 0.1}" in _case("mlp")
    adam = emit(_workload(CASES["mlp"].graph, Adam(1e-3, beta2=0.99)), TORCH7)
    assert "optim.adam" in adam.source and "beta2 = 0.99}" in adam.source
    assert adam.recipe and adam.recipe.optimizer == Adam(
        1e-3, beta2=0.99, epsilon_form="before"
    )
    with pytest.raises(GapError, match="adds the decay to the gradient"):
        _case("mlp", Adam(1e-3, weight_decay=0.01))


@pytest.mark.text
def test_branches_that_meet_again() -> None:
    source = _source("resnet50-features")
    assert "block:add(nn.ConcatTable():add(branch1):add(nn.Identity()))" in source
    assert "for _ = 1, 5 do\n        model:add(bottleneck(256))\n    end" in source
    net = Builder("cut")
    x = net.input("x", "NF", (4,))
    left, right = net.add(Split("F", (2, 2)), x)
    x = net.add(Add(), net.add(Dense(2), left), right)
    source = emit(_workload(net.graph(x)), TORCH7).source
    assert "branch1:add(nn.Narrow(2, 1, 2))\n    branch1:add(nn.Linear(2, 2))" in source
    assert ":add(branch1):add(nn.Narrow(2, 3, 2)))" in source


def _shared() -> Graph:
    net = Builder("shared")
    x = net.input("x", "NF", (4,))
    inner = net.add(Dense(4), x)
    outer = net.add(Dense(4), inner)
    both = net.add(Add(), inner, x)
    return net.graph(net.add(Add(), both, net.add(Add(), outer, inner)))


@pytest.mark.text
def test_branches_that_share_layers_keep_a_table_of_values() -> None:
    source = emit(_workload(_shared()), TORCH7).source
    assert "values:add(nn.Identity())\n    values:add(nn.Linear(4, 4))" in source
    assert "nn.SelectTable(2)" in source
    # Every layer once, in the network's order.
    assert source.count("nn.Linear(4, 4)") == 2


@pytest.mark.text
def test_names_of_lua_are_no_variables() -> None:
    net = Builder("names")
    x = net.input("end", "NF", (4,))
    x = net.add(Dense(3), x, name="local")
    x = net.add(Dropout(0.5), x, name="repeat")
    source = emit(_workload(net.graph(x)), TORCH7).source
    assert "model:add(nn.Linear(4, 3))\n    model:add(nn.Dropout(0.5))" in source


@pytest.mark.text
def test_shown_beside_python() -> None:
    names = ("torch7", "pytorch")
    programs = [emit(workloads.get("mnist-cnn"), backends.get(n)) for n in names]
    rows = side_by_side.align(programs)
    convolution = [row for row in rows if "conv1" in row.nodes and row.pieces[0]]
    assert len(convolution) == 1
    titles = [row for row in rows if row.pieces[0] and row.pieces[0].about == "title"]
    assert titles and all(all(row.pieces) for row in titles)
    train = [r for r in rows if r.pieces[0] and r.pieces[0].about == "train_step"]
    assert train and train[0].pieces[1] is not None
    assert "```lua" in side_by_side.show(programs, "markdown")
    assert "<span" in side_by_side.show(programs, "html")
    assert "torch7.lua" in side_by_side.show(programs, "text", 100)
    with pytest.raises(UserError, match="netglot write mnist-cnn --for torch7"):
        side_by_side.notebook(programs[0])


@pytest.mark.text
def test_lines_of_code_are_counted_without_comments() -> None:
    program = emit(workloads.get("mnist-fcn"), TORCH7)
    rows = [row.strip() for row in program.source.splitlines()]
    heading = rows.index("]]") + 1
    code = [row for row in rows[heading:] if row and not row.startswith("--")]
    assert program.code_lines == len(code)


@pytest.mark.text
def test_a_written_folder_has_weights_that_torch7_reads(tmp_path: Path) -> None:
    workload = workloads.get("mnist-lenet")
    paths = write(workload, ["torch7"], tmp_path)
    assert [path.name for path in paths] == [
        "mnist_lenet_torch7.lua",
        "mnist_lenet_torch7_weights.t7",
        "README.md",
    ]
    readme = paths[2].read_text()
    assert "data prepare mnist --from FOLDER -o mnist.t7" in readme
    assert "th mnist_lenet_torch7.lua -data mnist.t7 -weights" in readme
    program = emit(workload, TORCH7)
    arrays = t7.read(paths[1])
    assert [array.shape for array in arrays] == [w.shape for w in program.weights]
    named = {w.path: array for w, array in zip(program.weights, arrays, strict=True)}
    recipe = program.recipe
    assert recipe is not None
    wanted = reference.initial_weights(program.graph, recipe.initializers, 0)
    back = from_program(program, named)
    assert back.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_allclose(back[path], array, rtol=1e-6, atol=1e-9)


@pytest.mark.text
def test_the_format_is_that_of_torch7() -> None:
    """Byte by byte, as ``File.lua``, ``Tensor.c`` and ``Storage.c`` write it."""
    file = io.BytesIO()
    t7.write(file, {"x": np.array([[1.5, 2.5]], np.float32)})
    name = b"torch.FloatTensor"
    wanted = struct.pack("<iii", 3, 1, 1)  # a table, the first object, one pair
    wanted += struct.pack("<ii", 2, 1) + b"x"
    wanted += struct.pack("<iii", 4, 2, 3) + b"V 1" + struct.pack("<i", 17) + name
    # Two axes; sizes, strides, where it begins in its storage.
    wanted += struct.pack("<i5q", 2, 1, 2, 2, 1, 1)
    wanted += struct.pack("<iii", 4, 3, 3) + b"V 1" + struct.pack("<i", 18)
    wanted += b"torch.FloatStorage" + struct.pack("<qff", 2, 1.5, 2.5)
    assert file.getvalue() == wanted


@pytest.mark.text
def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    value = {
        "arrays": [np.arange(6, dtype=kind).reshape(2, 3) for kind in ("u1", "i8")],
        "turned": np.arange(6.0).reshape(2, 3).T,
        "text": "größer",
        "number": 0.5,
        "yes": True,
        "inner": {"count": 3},
    }
    path = tmp_path / "x.t7"
    with path.open("wb") as file:
        t7.write(file, value)
    found = t7.read(path)
    assert found.keys() == value.keys()
    for own, wanted in zip(found["arrays"], value["arrays"], strict=True):  # type: ignore
        assert own.dtype == wanted.dtype
        np.testing.assert_array_equal(own, wanted)
    np.testing.assert_array_equal(found["turned"], value["turned"])  # type: ignore
    assert (found["text"], found["number"], found["yes"]) == ("größer", 0.5, True)
    assert found["inner"] == {"count": 3}
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no file that Torch7 wrote"):
        t7.read(path)
    with pytest.raises(TypeError, match="complex"):
        t7.write(io.BytesIO(), np.zeros(2, complex))


@pytest.mark.text
def test_training_is_not_here() -> None:
    assert "only Torch7 itself" in TORCH7.env.forward_only


#: Losses, optimizers, kinds of layers: what of a training a program says itself.
TRAINED = [
    ("mlp", SGD(0.1)),
    ("mlp", SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)),
    ("mlp", Adam(1e-3)),
    ("mnist-lenet", None),
    ("mnist-fcn", None),
    ("mnist-autoencoder", None),
    ("imdb-gru", None),
    ("imdb-lstm", None),
]


@pytest.mark.framework
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [pytest.param(*pair, marks=marks.of("torch7")) for pair in TRAINED],
)
def test_the_half_that_trains_runs_in_the_stand_in(
    name: str, optimizer: Optimizer | None, tmp_path: Path
) -> None:
    """Not by Torch7: by its manual. It shows that the program's own text is right."""
    settings = Settings(dtype="float64", dropout=False)
    rng = np.random.default_rng(0)
    if optimizer:
        case = CASES[name]
        workload = _workload(case.graph, optimizer)
        program = emit(workload, TORCH7, settings)
        weights = case.weights()
        x = next(iter(case.inputs(0).values()))
        shape: Any = program.graph.types()[program.graph.outputs[0]].shape[1:]
        batches = [(x, rng.normal(size=(len(x), *shape))) for _ in range(3)]
    else:
        workload = workloads.get(name)
        program = emit(workload, TORCH7, settings)
        assert program.recipe is not None
        initializers = program.recipe.initializers
        weights = reference.initial_weights(program.graph, initializers, 0)
        type_ = program.graph.inputs[0][1]
        size: Any = (4, *type_.shape[1:])
        batches = []
        for _ in range(2):
            x = rng.random(size)
            if type_.dtype.startswith("int"):
                x = rng.integers(0, workload.data.vocabulary, size).astype(np.int32)
            y = x if workload.target == "input" else rng.integers(0, 2, 4)
            batches.append((x, y))
    environment = envs.prepare(TORCH7.env, "torch7")
    with Worker.start_for(
        TORCH7.env, environment, log=tmp_path / "log", threads=1, name="torch7"
    ) as worker:
        verdict = gate(program, TORCH7, worker, weights, batches, folder=tmp_path)
    assert verdict.equal, verdict.error or str(verdict)
    assert any("step 2" in d.what for d in verdict.differences)
    assert to_program(program, weights).keys() == {w.path for w in program.weights}
