"""Costs: numbers that are known from papers, or counted by hand."""

from __future__ import annotations

import math

import pytest

from cases import CASES, Case
from netglot import ops
from netglot.cost import FLOPS, summarize
from netglot.errors import UserError
from netglot.graph import Block, Builder, Graph
from netglot.ops import (
    GRU,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Relu,
)
from netglot.recipe import SGD, Adam

pytestmark = pytest.mark.text


def vgg() -> Graph:
    """The network of cifar-vgg."""
    net = Builder("vgg")
    x = net.input("image", "NCHW", (3, 32, 32))
    for channels in (50, 100):
        for _ in range(2):
            x = net.add(Conv(channels, (3, 3), padding=1), x)
            x = net.add(Relu(), x)
        x = net.add(Dropout(0.25), net.add(MaxPool((2, 2)), x))
    x = net.add(Relu(), net.add(Dense(512), net.add(Flatten(), x)))
    return net.graph(net.add(Dense(10), net.add(Dropout(0.5), x)))


def bottleneck(project: bool) -> Block:
    """He et al., 2015, with the stride on the 3x3, as everybody has it today."""
    net = Builder("Down" if project else "Bottleneck")
    channels, stride = net.parameter("channels"), net.parameter("stride")
    x = net.input("x", "NCHW", (None, None, None))

    def layer(x, name: str, channels, kernel: int, step):
        padding = kernel // 2
        conv = Conv(channels, (kernel, kernel), (step, step), padding, bias=False)
        return net.add(
            BatchNorm(), net.add(conv, x, name=f"conv{name}"), name=f"bn{name}"
        )

    y = net.add(Relu(), layer(x, "1", channels, 1, 1), name="relu1")
    y = net.add(Relu(), layer(y, "2", channels, 3, stride), name="relu2")
    y = layer(y, "3", 4 * channels, 1, 1)
    short = layer(x, "0", 4 * channels, 1, stride) if project else x
    y = net.add(Add(), y, short, name="add")
    return net.block(net.add(Relu(), y, name="relu3"))


def resnet50(classes: int | None) -> Graph:
    net = Builder("resnet50")
    x = net.input("image", "NCHW", (3, 224, 224))
    x = net.add(Conv(64, (7, 7), 2, 3, bias=False), x, name="conv")
    x = net.add(Relu(), net.add(BatchNorm(), x, name="bn"), name="relu")
    x = net.add(MaxPool((3, 3), 2, 1), x, name="pool")
    down, same = bottleneck(True), bottleneck(False)
    for stage, (channels, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        sizes = {"channels": channels, "stride": 2 if stage else 1}
        x = net.call(down, x, name=f"down{stage}", **sizes)
        sizes["stride"] = 1
        x = net.call(same, x, name=f"layer{stage}", times=count - 1, **sizes)
    x = net.add(GlobalAvgPool(), x, name="mean")
    return net.graph(x if classes is None else net.add(Dense(classes), x, name="fc"))


def test_every_operation_is_counted():
    assert set(FLOPS) == set(ops.OPERATIONS.values())


def test_resnet50_is_as_published():
    summary = summarize(resnet50(1000), 1)
    assert summary.parameters == 25_557_032
    assert summarize(resnet50(None), 1).parameters == 23_508_032
    assert summary.statistics == 53_120
    # 4.09 billion multiply-adds in products, as torchvision's table of models says.
    products = [row for row in summary.rows if row.operation in ("Conv", "Dense")]
    assert sum(row.flops for row in products) / 2e9 == pytest.approx(4.09, abs=0.005)
    assert summary.flops / 2e9 == pytest.approx(4.12, abs=0.005)
    assert 2.9 < summary.training_flops / summary.flops < 3


def test_vgg_by_hand():
    summary = summarize(vgg(), 64, SGD(0.01, 0.9))
    weights = [9 * 3 * 50, 9 * 50 * 50, 9 * 50 * 100, 9 * 100 * 100, 6400 * 512, 5120]
    biases = 50 + 50 + 100 + 100 + 512 + 10
    assert summary.parameters == sum(weights) + biases == 3_441_592
    places = [1024, 1024, 256, 256, 1, 1]
    products = 64 * 2 * sum(w * p for w, p in zip(weights, places, strict=True))
    rows = {row.name: row for row in summary.rows}
    assert rows["conv2"].flops == 64 * 1024 * 50 * (2 * 450 + 1)
    assert rows["dense1"].parameters == 6400 * 512 + 512
    assert products < summary.flops < 1.02 * products
    # The first layer needs no gradient in the images.
    assert rows["conv1"].training_flops == 2 * rows["conv1"].flops
    assert rows["conv2"].training_flops == 3 * rows["conv2"].flops
    assert rows["relu1"].training_flops == 2 * rows["relu1"].flops


def test_bytes_by_hand():
    net = Builder("net")
    x = net.add(Embedding(1000, 5), net.input("x", "NT", (7,), "int32"), name="words")
    x = net.add(Flatten(), x, name="flat")
    summary = summarize(net.graph(net.add(Dense(3), x, name="dense")), 2)
    words, flat, dense = summary.rows
    # Indices and the rows that are read; not the whole table.
    assert (words.bytes_read, words.bytes_written) == (4 * 14 + 4 * 70, 4 * 70)
    assert (flat.bytes_read, flat.bytes_written) == (0, 0)
    assert dense.bytes_read == 4 * (70 + 35 * 3 + 3)
    assert dense.bytes_written == 4 * 6
    assert summary.bytes_read == words.bytes_read + dense.bytes_read


def test_gru_by_hand():
    net = Builder("net")
    x = net.input("x", "NTF", (5, 4))
    summary = summarize(net.graph(net.add(GRU(3), x)), 2)
    # Per step: both products, their sum, two biases of nine, seven per unit.
    step = 2 * 9 * (4 + 3) + 9 + 18 + 7 * 3
    assert summary.flops == 2 * 5 * step
    assert summary.parameters == 9 * 4 + 9 * 3 + 9 + 9


def test_structure_is_kept():
    rows = summarize(CASES["nested"].graph, 3).rows
    outline = [(row.level, row.name, row.operation) for row in rows]
    assert outline[:7] == [
        (0, "first", "Stage"),
        (1, "first.wide", "Unit"),
        (2, "first.wide.dense", "Dense"),
        (2, "first.wide.elu", "Elu"),
        (1, "first.units", "Unit x 2"),
        (2, "first.units.0", "Unit"),
        (3, "first.units.0.dense", "Dense"),
    ]
    by_name = {row.name: row for row in rows}
    assert (by_name["more"].operation, by_name["more"].level) == ("Stage x 2", 0)
    assert by_name["more.1"].operation == "Stage"
    assert by_name["more"].outputs[0].shape == (3, 2)
    assert by_name["first.wide"].outputs[0].shape == (3, 6)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_rows_add_up(case: Case):
    summary = summarize(case.graph, 3)
    top = [row for row in summary.rows if row.level == 0]
    assert [row.name for row in top] == [node.name for node in case.graph.nodes]
    for name in ("parameters", "flops", "training_flops", "bytes_read"):
        assert sum(getattr(row, name) for row in top) == getattr(summary, name)
    weights = case.graph.weights().values()
    assert summary.parameters == sum(w.size for w in weights if w.trained)
    assert summary.flops <= summary.training_flops <= 3 * summary.flops
    assert summary.memory.inference_values <= summary.memory.training_values
    twice = summarize(case.graph, 6)
    assert twice.flops == 2 * summary.flops
    assert twice.memory.training_values == 2 * summary.memory.training_values
    types = case.graph.types()
    for row, node in zip(top, case.graph.nodes, strict=True):
        shapes = [type_.shape[1:] for type_ in row.outputs]
        assert shapes == [types[value].shape[1:] for value in node.outputs]


def test_memory_by_hand():
    net = Builder("net")
    x = net.input("x", "NF", (10,))
    a = net.add(Dense(100), x, name="a")
    b = net.add(Relu(), net.add(Dropout(0.5), a, name="drop"), name="b")
    c = net.add(Dense(10), b, name="c")
    graph = net.graph(net.add(Add(), c, x, name="sum"))
    memory = summarize(graph, 1, Adam(0.1)).memory
    # While b is computed: x, which is still to be read, a, which is also drop, and b.
    assert memory.inference_values == 4 * (10 + 100 + 100)
    assert memory.training_values == 4 * (10 + 100 + 100 + 100 + 10 + 10)
    weights = 4 * (10 * 100 + 100 + 100 * 10 + 10)
    assert memory.weights == memory.gradients == weights
    assert memory.optimizer == 2 * weights
    assert memory.inference == weights + memory.inference_values
    assert memory.training == 4 * weights + memory.training_values
    assert summarize(graph, 1, SGD(0.1)).memory.optimizer == 0
    assert summarize(graph, 1, SGD(0.1, 0.9)).memory.optimizer == weights
    assert summarize(graph, 1).memory.optimizer == 0


def test_statistics_have_no_gradient():
    case = CASES["batch-norm"]
    summary = summarize(case.graph, 2)
    assert (summary.parameters, summary.statistics) == (6, 6)
    assert (summary.memory.weights, summary.memory.gradients) == (48, 24)
    assert summary.flops == 2 * math.prod((3, 7, 5)) * 4


def test_sizes_must_be_known():
    net = Builder("net")
    x = net.input("words", "NTF", (None, 4))
    with pytest.raises(UserError, match=r"size of its value words is not known \(T \?"):
        summarize(net.graph(net.add(GRU(3), x)), 1)
