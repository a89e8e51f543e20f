"""Graphs: building, blocks, names, messages, saving."""

from __future__ import annotations

import json

import pytest

from cases import CASES, Case
from netglot.errors import UserError
from netglot.graph import Builder, Graph, from_json, to_json
from netglot.ops import (
    Add,
    Concat,
    Conv,
    Dense,
    Dropout,
    Relu,
    ShapeError,
    Split,
    Type,
)
from netglot.symbols import Symbol

pytestmark = pytest.mark.text

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def row(name: str = "net", features: int = 4):
    net = Builder(name)
    return net, net.input("x", "NF", (features,))


# --- Saving ---------------------------------------------------------------------------


@EVERY
def test_json_brings_back_the_same_graph(case: Case):
    assert from_json(json.loads(json.dumps(to_json(case.graph)))) == case.graph


def test_save_and_load(tmp_path):
    path = tmp_path / "residual.json"
    CASES["residual"].graph.save(path)
    graph = Graph.load(path)
    assert graph == CASES["residual"].graph
    assert [block.name for block in graph.blocks()] == ["Bottleneck", "Residual"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a saved netglot graph"),
        ('{"is": "Dens", "features": 3}', "Did you mean Dense"),
        ('{"features": 3}', "is not a saved netglot graph"),
        ('{"is": "Dense", "feature": 3}', "is not a saved netglot graph"),
        ('{"is": "Dropout", "rate": 2}', "is not a saved netglot graph"),
        ('{"is": "Dense", "features": 3}', "holds a Dense, not a Graph"),
    ],
)
def test_files_that_hold_no_graph(tmp_path, text: str, message: str):
    path = tmp_path / "net.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Graph.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="is not a saved netglot graph"):
        Graph.load(tmp_path / "net.json")


# --- Blocks ---------------------------------------------------------------------------


def test_names_in_blocks():
    names = [node.name for node in CASES["nested"].graph.flat().nodes]
    assert names == [
        f"{stage}.{unit}.{op}"
        for stage in ("first", "more.0", "more.1")
        for unit in ("wide", "units.0", "units.1")
        for op in ("dense", "elu")
    ]


def test_a_call_writes_the_name_by_which_it_is_read():
    flat = CASES["residual"].graph.flat()
    nodes = {node.name: node for node in flat.nodes}
    assert nodes["down.relu3"].outputs == ("down",)
    assert nodes["stage.0.conv"].inputs == ("down",)
    assert nodes["stage.1.conv"].inputs == ("stage.0.tanh",)
    assert nodes["stage.1.tanh"].outputs == ("stage",)
    assert nodes["pool"].inputs == ("stage",)


@EVERY
def test_flat_network_is_the_same_network(case: Case):
    flat = case.graph.flat()
    assert flat.outputs == case.graph.outputs
    assert flat.flat() == flat
    assert flat.blocks() == []
    assert list(flat.weights()) == list(case.graph.weights())
    flat_types, types = flat.types(), case.graph.types()
    assert {name: flat_types[name] for name in types} == types
    names = [node.name for node in flat.nodes]
    assert len(set(names)) == len(names)


def test_sizes_are_handed_down():
    weights = CASES["nested"].graph.weights()
    assert weights["first.wide.dense.kernel"].shape == (6, 6)
    assert weights["first.units.0.dense.kernel"].shape == (3, 6)
    assert weights["first.units.1.dense.kernel"].shape == (3, 3)
    assert weights["more.1.wide.dense.kernel"].shape == (4, 2)


def test_blocks_are_listed_inner_ones_first():
    assert [block.name for block in CASES["nested"].graph.blocks()] == ["Unit", "Stage"]


def test_two_blocks_of_one_name():
    net, x = row()
    for size in (2, 3):
        block, y = row("Unit", None)
        x = net.call(block.block(block.add(Dense(size), y)), x, name=f"unit{size}")
    with pytest.raises(UserError, match="two different blocks have the name Unit"):
        net.graph(x).blocks()


def test_a_block_with_two_outputs():
    block, x = row("Fork", None)
    fork = block.block(
        block.add(Dense(2), x, name="a"), block.add(Dense(3), x, name="b")
    )
    net, x = row()
    a, b = net.call(fork, x, name="fork")
    graph = net.graph(net.add(Concat("F"), a, b, name="both"))
    assert graph.types()["both"].shape == (None, 5)
    nodes = {node.name: node for node in graph.flat().nodes}
    assert nodes["both"].inputs == ("fork_0", "fork_1")
    assert nodes["fork.b"].outputs == ("fork_1",)


def test_an_output_that_the_block_itself_reads():
    block, x = row("Dense", None)
    a = block.add(Dense(2), x, name="a")
    both = block.block(a, block.add(Relu(), a, name="b"))
    net, x = row()
    a, b = net.call(both, x, name="both")
    flat = net.graph(net.add(Add(), a, b, name="sum")).flat()
    assert [node.inputs for node in flat.nodes] == [
        ("x",),
        ("both_0",),
        ("both_0", "both_1"),
    ]
    assert flat.types()["sum"].shape == (None, 2)


def test_a_block_does_not_give_back_its_input():
    block, x = row("Nothing")
    with pytest.raises(
        UserError, match="Nothing: a block gives every output a value of"
    ):
        block.block(x)
    y = block.add(Relu(), x)
    with pytest.raises(UserError, match="not one value twice"):
        block.block(y, y)


def test_map_ops_reaches_into_blocks():
    def quiet(op):
        return Dropout(0.0) if isinstance(op, Dropout) else op

    graph = CASES["encoder"].graph.map_ops(quiet)
    rates = [n.op.rate for n in graph.flat().nodes if isinstance(n.op, Dropout)]
    assert rates == [0.0, 0.0]
    assert [block.name for block in graph.blocks()] == ["EncoderLayer"]


# --- Symbols --------------------------------------------------------------------------


def test_symbols_print_and_evaluate():
    a, b = Symbol("a"), Symbol("b")
    for symbol, text, value in (
        (2 * a, "2 * a", 6),
        (a + b, "a + b", 10),
        (2 * (a + b), "2 * (a + b)", 20),
        ((a + 1) * b, "(a + 1) * b", 28),
        (b // 2 + a, "b // 2 + a", 6),
        (b // (a + 1), "b // (a + 1)", 1),
        (1 + a, "1 + a", 4),
        (2 * a * b, "(2 * a) * b", 42),
    ):
        assert str(symbol) == text
        assert symbol.value({"a": 3, "b": 7}) == value
    with pytest.raises(KeyError, match="b"):
        (a + b).value({"a": 3})


def test_a_symbol_may_become_another():
    size = (2 * Symbol("channels")).value({"channels": Symbol("width") + 1})
    assert size.value({"width": 4}) == 10


# --- Messages of the builder ----------------------------------------------------------


def test_shape_error_names_network_node_and_source():
    net = Builder("tiny")
    x = net.input("image", "NCHW", (1, 5, 5))
    with pytest.raises(ShapeError) as error:
        net.add(Conv(8, (7, 7)), x, name="conv1", source="line 12 of net.prototxt")
    assert str(error.value) == (
        "tiny: Conv (node conv1, from line 12 of net.prototxt) with input "
        "C 1 x H 5 x W 5: a window of 7 does not fit into 5 with a padding of (0, 0)"
    )


def test_every_shape_error_names_its_node():
    net, x = row()
    with pytest.raises(ShapeError, match=r"net: Split \(node cut, from here\)"):
        net.add(Split("F", (1, 1)), x, name="cut", source="here")
    with pytest.raises(ShapeError, match=r"Add \(node sum\) is given 1 inputs"):
        net.add(Add(), x, name="sum")


def test_shape_error_inside_a_block_names_both():
    block, x = row("Unit", None)
    unit = block.block(block.add(Split("F", (2, 2)), x, name="cut")[0])
    net, x = row(features=5)
    with pytest.raises(ShapeError, match=r"node unit\).*Split \(node call.cut\)"):
        net.call(unit, x, name="unit")


def test_a_block_repeated_must_fit_itself():
    block = Builder("Shrink")
    x = block.input("x", "NCHW", (3, None, None))
    shrink = block.block(block.add(Conv(3, (2, 2)), x, name="conv"))
    net = Builder("net")
    x = net.input("x", "NCHW", (3, 2, 2))
    net.call(shrink, x, name="once", times=1)
    with pytest.raises(ShapeError, match=r"node twice\).*Conv \(node call.1.conv\)"):
        net.call(shrink, x, name="twice", times=2)


def test_names_are_used_once():
    net, x = row()
    net.add(Relu(), x, name="relu")
    with pytest.raises(UserError, match="net: the name 'relu' is used twice"):
        net.add(Relu(), x, name="relu")
    with pytest.raises(UserError, match="'x' is used twice"):
        net.add(Relu(), x, name="x")


def test_names_that_are_made_up():
    net, x = row()
    net.add(Relu(), x, name="relu2")
    for _ in range(3):
        x = net.add(Relu(), x)
    assert [n.name for n in net.graph(x).nodes] == ["relu2", "relu3", "relu4", "relu5"]
    a, b = net.add(Split("F", (1, 3)), x)
    assert (a.name, b.name) == ("split1_0", "split1_1")


def test_values_of_another_network():
    net, _ = row()
    stranger = Builder("stranger").input("z", "NF", (4,))
    with pytest.raises(UserError, match="is not a value of this network"):
        net.add(Relu(), stranger)
    with pytest.raises(UserError, match="'x' is not a value"):
        net.add(Relu(), "x")


def test_sizes_of_a_block():
    block = CASES["residual"].graph.nodes[0].op.block
    net = Builder("net")
    x = net.input("x", "NCHW", (3, 8, 6))
    with pytest.raises(UserError, match="Did you mean channels"):
        net.call(block, x, name="down", chanels=2, stride=2)
    with pytest.raises(UserError, match="block Bottleneck needs a size for stride"):
        net.call(block, x, name="down", channels=2)


def test_types_print_and_refuse():
    assert str(Type("NTF", (None, None, 3))) == "T ? x F 3"
    with pytest.raises(ValueError, match="does not have the axes 'NCHW'"):
        Type("NCHW", (None, 3))
