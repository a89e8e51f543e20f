"""Random networks: valid, and in every framework what the reference computes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

import marks
from netglot import backends, reference
from netglot.cost import summarize
from netglot.emit import GapError, emit
from netglot.graph import Graph
from netglot.ops import OPERATIONS
from netglot.script import PYTHON
from random_graphs import (
    LARGEST,
    QUIET,
    Examiner,
    batches_of,
    exams,
    graphs,
    sample,
    unasked,
    weights_of,
)

#: Operations that no random network has, and why.
UNREACHED: dict[str, str] = {}
#: Networks that are checked in every framework; the long run is a benchmark.
CHECKED = 50

STABLE = settings(max_examples=100, derandomize=True, **QUIET)


@pytest.fixture(scope="module")
def many() -> list[Graph]:
    return sample(300, 0)


@pytest.mark.text
def test_nearly_every_operation_is_drawn(many: list[Graph]) -> None:
    drawn = Counter(type(node.op).__name__ for g in many for node in g.flat().nodes)
    assert not UNREACHED.keys() & drawn.keys()
    # Which ones are rare is chance, and another one with another Hypothesis.
    missing = OPERATIONS.keys() - drawn.keys() - UNREACHED.keys()
    assert len(missing) <= 3, missing


@pytest.mark.text
def test_every_operation_can_be_drawn() -> None:
    missing = OPERATIONS.keys() - UNREACHED.keys()
    for number in range(20):
        for graph in sample(100, number):
            missing -= {type(node.op).__name__ for node in graph.flat().nodes}
        if not missing:
            break
    assert not missing


@pytest.mark.text
def test_shapes_of_networks_vary(many: list[Graph]) -> None:
    assert {graph.inputs[0][1].axes for graph in many} == {
        "NF",
        "NT",
        "NTF",
        "NCW",
        "NCHW",
        "NCDHW",
    }
    assert sum(bool(graph.blocks()) for graph in many) > 10
    readers = [Counter(v for node in g.nodes for v in node.inputs) for g in many]
    assert sum(max(counts.values()) > 1 for counts in readers) > 50
    assert len({str(graph) for graph in many}) > 200


@pytest.mark.text
@STABLE
@given(graphs())
def test_a_network_is_valid(graph: Graph) -> None:
    types = graph.flat().types()
    for type_ in types.values():
        sizes = [type_.size(letter) for letter in type_.axes if letter != "N"]
        assert all(isinstance(size, int) and size > 0 for size in sizes)
        assert math.prod(sizes) <= 4 * LARGEST
    read = {value for node in graph.nodes for value in node.inputs}
    for node in graph.nodes:
        assert read & set(node.outputs) or set(node.outputs) & set(graph.outputs)


@pytest.mark.text
@STABLE
@given(graphs())
def test_the_reference_computes_it(graph: Graph) -> None:
    ((x, _),) = batches_of(graph, 0)
    trace = reference.forward(graph, weights_of(graph, 0), {graph.inputs[0][0]: x})
    assert trace.outputs[0].shape == (3, *graph.types()[graph.outputs[0]].shape[1:])


@pytest.mark.text
@STABLE
@given(graph=graphs())
def test_it_is_the_same_after_saving(
    graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    graph.save(path)
    assert Graph.load(path) == graph


@pytest.mark.text
@STABLE
@given(graphs())
def test_its_costs_are_counted(graph: Graph) -> None:
    found = summarize(graph, 3)
    trained = [w.size for w in graph.weights().values() if w.trained]
    assert found.parameters == sum(trained)


@pytest.mark.text
@STABLE
@given(graphs())
def test_programs_compile_or_say_why_not(graph: Graph) -> None:
    for name in backends.names():
        for exam in exams(graph):
            try:
                program = emit(exam.workload, backends.get(name))
            except GapError as gap:
                assert gap.gaps
            else:
                if program.script is PYTHON:
                    compile(program.source, program.name, "exec")


@pytest.fixture
def examiner(tmp_path: Path) -> Iterator[Examiner]:
    """Its workers live as long as one framework's test."""
    examiner = Examiner(tmp_path, "hurried")
    yield examiner
    examiner.close()


@pytest.mark.framework
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks.of(name)) for name in backends.names()]
)
def test_programs_compute_the_same(name: str, examiner: Examiner) -> None:
    found: Counter[str] = Counter()
    widest = max(backends.get(name).dtypes)

    @settings(max_examples=CHECKED, derandomize=True, print_blob=False, **QUIET)
    @given(graphs())
    def check(graph: Graph) -> None:
        for exam in exams(graph, (widest,)):
            if unasked(exam, 0):
                found["unasked"] += 1
                continue
            outcome = examiner.judge(exam, name, 0)
            found[outcome.status] += 1
            assert outcome.status != "different", f"{outcome.reason}\n{outcome.source}"

    check()
    # Those that have few operations have gaps, never something else.
    gaps = 0 if name in backends.GROUPS["main"] else found["gap"]
    assert found["equal"] and found["equal"] + gaps >= CHECKED // 2, found
