"""Features: what cells say, and that a probe's answer depends on what it looked at."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from netglot import backends
from netglot.cli import run as netglot
from netglot.features import cells, checking, rows, run
from netglot.features.cells import Cell, Check
from netglot.features.rows import Row
from netglot.report import features as report
from netglot.runtime import envs
from netglot.runtime.envs import Environment

pytestmark = pytest.mark.text

HERE = Environment(
    "here", Path(sys.executable), "3", {"stub": "1"}, 0, 0, "", provider="here"
)

Fill = Callable[..., Cell]


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """The cell of a probe with this text, for the framework NumPy, run in Python."""
    folder = tmp_path / "probes"
    folder.mkdir()
    monkeypatch.setattr(rows, "FOLDER", folder)
    monkeypatch.setenv("NETGLOT_CACHE", str(tmp_path / "cache"))
    numbers = iter(range(1000))

    def one(text: str, *others: str, again: bool = True) -> Cell:
        wanted = []
        for source in (text, *others):
            row = Row(f"row-{next(numbers)}", "A row")
            monkeypatch.setitem(rows.ROWS, row.name, row)  # type: ignore[arg-type]
            row.path.write_text(textwrap.dedent(source))
            wanted.append(row)
        found = run.fill(["numpy"], wanted, environments={"numpy": HERE}, again=again)
        return found[wanted[-1].name, "numpy"]

    yield one


RIGHT = """
    '''Asks.'''
    CHECKS = {"sum": 3.0, "name": "abc"}

    def numpy(check):
        @check("sum")
        def total():
            return SUM

        @check("name")
        def name():
            check.note("spelt")
            return NAME
"""


def _written(total: str, name: str) -> str:
    return RIGHT.replace("SUM", total).replace("NAME", name)


@pytest.mark.parametrize(
    ("total", "name", "state", "text"),
    [
        ("3.0", "'abc'", "yes", ""),
        ("3.0", "'ab'", "partial", "1 of 2"),
        ("4.0", "'ab'", "no", ""),
        ("[3.0]", "None", "no", ""),
        ("float('nan')", "'ab'", "no", ""),
        ("1 / 0", "'abc'", "error", "1 of 2"),
        ("check.no('it is not there')", "check.no('nor this')", "no", ""),
        ("check.not_here('a GPU')", "'abc'", "yes", "(1 of 2)"),
        ("check.not_here('a GPU')", "check.not_here('a GPU')", "not here", ""),
        ("check.fallback('by hand') or 3.0", "'abc'", "fallback", ""),
        ("check.fallback('by hand') or 2.0", "'abc'", "partial", "1 of 2"),
        ("check.lacks('math.no_such', 'none')", "'abc'", "partial", "1 of 2"),
        # What is said to lack is there.
        ("check.lacks('math.sin', 'none')", "'abc'", "error", "1 of 2"),
        ("check.lacks('no_such_package.x', 'none')", "'abc'", "partial", "1 of 2"),
        ("check.command('no-such-command')", "'abc'", "yes", "(1 of 2)"),
    ],
)
def test_states(fill: Fill, total: str, name: str, state: str, text: str) -> None:
    cell = fill(_written(total, name))
    assert (cell.state, cell.text) == (state, text), cell


def test_only_the_named_refusal_is_a_no(fill: Fill) -> None:
    text = """
        CHECKS = {"x": 1}

        def numpy(check):
            @check("x", refused_by=(KeyError,))
            def x():
                raise %s("not supported")
    """
    cell = fill(text % "KeyError")
    assert cell.state == "no" and "not supported" in cell.checks[0].notes[0]
    cell = fill(text % "TypeError")
    assert cell.state == "error" and "TypeError" in cell.checks[0].traceback


def test_what_a_probe_does_not_say_is_a_fault(fill: Fill) -> None:
    cell = fill('CHECKS = {"a": 1, "b": 2}\ndef numpy(check):\n    pass\n')
    assert cell.state == "error" and cell.checks[0].notes == ("never looked at",)
    cell = fill('CHECKS = {"a": 1}\ndef numpy(check):\n    import no_such_package\n')
    assert cell.state == "error" and "no_such_package" in cell.checks[0].traceback


@pytest.mark.parametrize(
    ("line", "state", "told"),
    [
        ("import os; os._exit(3)", "error", "status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "error", "SIGSEGV"),
        ("import os; os.fork() or os._exit(0)", "yes", ""),
        ("while True: pass", "timeout", "more than 2 s"),
    ],
)
def test_a_bad_probe_costs_its_own_cell(
    fill: Fill, line: str, state: str, told: str, tmp_path: Path
) -> None:
    bad = f"""
        TIMEOUT = 2
        CHECKS = {{"x": 1}}

        def numpy(check):
            @check("x")
            def x():
                {line}
                return 1
    """
    good = _written("3.0", "'abc'")
    assert fill(good, bad, good).state == "yes"
    cell = fill(bad)
    assert cell.state == state and told in cell.log


def test_a_judging_function_says_what_it_wanted(fill: Fill) -> None:
    text = """
        def under_half(value):
            '''less than half'''
            return value < 0.5

        CHECKS = {"share": under_half}

        def numpy(check):
            @check("share")
            def share():
                return %s
    """
    assert fill(text % 0.4).state == "yes"
    cell = fill(text % 0.6)
    assert cell.state == "no" and cell.checks[0].notes[-1].endswith("less than half")


def test_one_variant_is_shown_and_the_nearest_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "FOLDER", tmp_path)
    row = Row("layers", "Layers")
    row.path.write_text(
        '"""Asks."""\nONE = 1\n\n\ndef _helper(x):\n    return x\n\n\n'
        "def keras(check):\n    a\n\n\ndef keras_jax(check):\n    b\n"
    )
    assert rows.variant(row, "keras-torch") == "keras"
    assert rows.variant(row, "keras-jax") == "keras_jax"
    assert rows.variant(row, "numpy") is None
    assert rows.probe(row.path).sources["keras"] == (
        '"""Asks."""\nONE = 1\n\n\ndef _helper(x):\n    return x\n\n\n'
        "def keras(check):\n    a\n"
    )


def test_alone_and_variables(fill: Fill) -> None:
    text = """
        VARIABLES = {"NETGLOT_TOLD": "this"}
        CHECKS = {"told": "this"}

        def numpy(check):
            import os

            @check("told")
            def told():
                return os.environ.get("NETGLOT_TOLD")
    """
    assert fill(_written("3.0", "'abc'"), text).state == "yes"
    assert fill(text, text.replace("VARIABLES", "OTHERS")).state == "no"


def test_kept_until_the_probe_changes(fill: Fill, tmp_path: Path) -> None:
    count = tmp_path / "count"
    text = f"""
        CHECKS = {{"x": 1}}

        def numpy(check):
            @check("x")
            def x():
                with open({str(count)!r}, "a") as file:
                    file.write(".")
                return 1
    """
    row = rows.get(fill(text).row)
    for again, change, times in ((False, "", 1), (True, "", 2), (False, "# b\n", 3)):
        row.path.write_text(row.path.read_text() + change)
        rows.probe.cache_clear()
        found = run.fill(["numpy"], [row], environments={"numpy": HERE}, again=again)
        assert found[row.name, "numpy"].state == "yes"
        assert len(count.read_text()) == times


def test_an_environment_that_is_lacking_is_no_row_of_no(fill: Fill) -> None:
    row = rows.get(fill(_written("3.0", "'abc'")).row)
    for error, state in (
        (envs.LackError("there is no Python 2.6"), "not here"),
        (envs.EnvError("pip failed"), "error"),
    ):
        found = run.fill(["numpy"], [row], environments={"numpy": error})
        cell = found[row.name, "numpy"]
        assert cell.state == state and str(error) in cell.log


def test_a_cell_survives_a_file(fill: Fill) -> None:
    cell = fill(_written("3.0", "'ab'"))
    again = cells.from_json(json.loads(json.dumps(dataclasses.asdict(cell))))
    assert dataclasses.replace(again, machine=cell.machine) == cell


def _table() -> Mapping[tuple[str, str], Cell]:
    fine = Cell("vmap", "pytorch", "yes", checks=(Check("x", "yes", "1.0"),))
    return {
        ("creator", "numpy"): Cell("creator", "numpy", "declared", "some | one"),
        ("creator", "pytorch"): Cell("creator", "pytorch", "unasked"),
        ("vmap", "numpy"): Cell("vmap", "numpy", "partial", "1 of 2"),
        ("vmap", "pytorch"): fine,
    }


def test_reports(tmp_path: Path) -> None:
    table = _table()
    said = report.sentence(table)
    assert "3 of 4 cells filled, 2 by running something" in said
    text = report.markdown(table)
    assert "| Vectorizing map | 1 of 2 | yes |" in text and "some \\| one" in text
    assert report.as_csv(table).splitlines()[4].startswith("vmap,pytorch,yes,")
    assert json.loads(report.as_json(table))["counts"]["states"]["unasked"] == 1
    page = report.html(table)
    assert '<template id="vmap pytorch">' in page and 'class="partial"' in page
    written = report.write(table, tmp_path / "out")
    assert [path.suffix for path in written] == [".html", ".md", ".csv", ".json"]


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert netglot(["features", "why", "pytorch", "control-flo"]) == 2
    assert "Did you mean control-flow" in capsys.readouterr().err
    assert netglot(["features", "--on", "pytorhc"]) == 2
    assert "pytorch" in capsys.readouterr().err


def test_every_probe_can_be_read_and_told_what_is_right() -> None:
    for row in rows.ROWS.values():
        if row.kind != "probe" or not row.path.exists():
            continue
        probe = rows.probe(row.path)
        known = {v for name in backends.names() for v in rows.variants(name)}
        stray = probe.sources.keys() - known - {"caffe", "torch7", "h2o"}
        assert probe.sources and not stray, row.path.name


def test_probes_have_no_file_without_a_row() -> None:
    """Those called ``_name`` are what several share."""
    files = {path.stem for path in rows.FOLDER.glob("[!_]*.py")}
    assert files <= {row.path.stem for row in rows.ROWS.values()}


def test_a_cell_shows_what_its_probe_shares_with_others() -> None:
    """What is shared is part of what was asked: changed, it is asked again."""
    source = rows.probe(rows.get("custom-op-python").path).sources["pytorch"]
    assert "# _swish.py" in source and "def alike(" in source
    assert "torch.nn.Conv2d(1, 32, 3)" in source and "jax" not in source


def test_what_runs_elsewhere_is_old_python() -> None:
    """The oldest interpreter with a framework is 3.6."""
    import ast

    for path in (Path(checking.__file__), *rows.FOLDER.glob("*.py")):
        ast.parse(path.read_text(), feature_version=(3, 6))


def test_a_worker_says_where_a_probe_printed(fill: Fill) -> None:
    text = """
        CHECKS = {"x": 1}

        def numpy(check):
            @check("x")
            def x():
                print("seen")
                return 1
    """
    assert fill(text).printed == "seen\n"


def test_another_process_of_the_same_interpreter(fill: Fill) -> None:
    text = """
        CHECKS = {"x": "abc"}

        def numpy(check):
            @check("x")
            def x():
                return check.python("import sys; print(sys.argv[1])", "abc")
    """
    assert fill(text).state == "yes"
    assert fill(text.replace("print(", "raise SystemExit(")).state == "error"
