"""Reports from made-up records: the summary, and every output made of it."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest

import races
from netglot import backends, emit, workloads
from netglot.errors import UserError
from netglot.report import (
    figures,
    files,
    notebooks,
    plots,
    side_by_side,
    terminal,
    words,
)
from netglot.report.summary import summarize

pytestmark = pytest.mark.text


@pytest.fixture(scope="module")
def summary():
    return summarize(races.make_race(), races.make_records())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = races.make_folder(tmp_path_factory.mktemp("race") / "r")
    files.write_report(made)
    return made


def row(summary, label):
    return next(row for row in summary.rows if row.label == label)


def note(summary, about):
    return " ".join(note.text for note in summary.notes if note.about == about)


# --- The summary ----------------------------------------------------------------------


def test_every_label_has_one_row(summary):
    assert sorted(r.label for r in summary.rows) == sorted(summary.race["labels"])


def test_ranks_and_ties(summary):
    assert {r.label: r.place for r in summary.rows} == {
        "pytorch": "=1",
        "flax": "=1",
        "tensorflow": "3",
        "numpy": "4",
        "keras-jax": "–",
        "mxnet": "–",
        "cntk": "–",
    }
    assert [r.label for r in summary.rows][:4] == [
        "pytorch",
        "flax",
        "tensorflow",
        "numpy",
    ]


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("keras-jax", "not equivalent"),
        ("mxnet", "failed"),
        ("cntk", "cannot be written"),
        ("pytorch", ""),
    ],
)
def test_why_there_is_no_rank(summary, label, why):
    assert row(summary, label).unranked == why


def test_numbers_of_a_row(summary):
    pytorch = row(summary, "pytorch")
    values = [races.make_record("pytorch", n)["train_seconds"] for n in range(5)]
    assert pytorch.train.median == pytest.approx(np.median(values))
    assert pytorch.train.low <= pytorch.train.median <= pytorch.train.high
    assert pytorch.n == 5 and pytorch.version == "2.13.0"
    assert pytorch.spread[0] <= pytorch.score <= pytorch.spread[1]
    assert pytorch.imports.median == 1.6
    assert pytorch.memory.median == 310e6
    assert pytorch.ratio.median == 1
    assert row(summary, "tensorflow").ratio.median == pytest.approx(11 / 8, rel=0.05)
    assert pytorch.records == tuple(f"records/pytorch-{n}.json" for n in range(5))


def test_phases_hold_the_barrier_and_add_up(summary):
    pytorch = row(summary, "pytorch")
    trained = pytorch.phases["first step"] + pytorch.phases["steps"]
    assert trained == pytest.approx(pytorch.train.median)


def test_runs_that_were_not_done_do_not_count(summary):
    flax = row(summary, "flax")
    assert (flax.n, len(flax.runs), flax.status) == (4, 5, "done")
    assert "1 of 5 runs: timeout: 600 s were over" in note(summary, "failed")


def test_one_run_has_no_interval_and_says_so(summary):
    numpy = row(summary, "numpy")
    assert numpy.train.interval is None and numpy.rank.place == 4
    assert "NumPy and autograd (1 run)" in note(summary, "no interval")


def test_all_single_runs_say_no_interval():
    records = [races.make_record(label, 0) for label in races.FRAMEWORKS]
    single = summarize(races.make_race(labels=[]), records)
    assert [r.place for r in single.rows] == ["1", "2", "3", "4", "5"]
    assert note(single, "no interval").startswith("1 run;")
    assert note(single, "noise floor").startswith("n/a")
    assert single.noise is None


def test_footnotes(summary):
    assert "gradient of fc1.kernel" in note(summary, "not equivalent")
    assert "Adam: epsilon hat" in note(summary, "form")
    assert "no such layer" in note(summary, "cannot be written")
    assert "libgfortran" in note(summary, "failed") and "More" not in note(
        summary, "failed"
    )
    assert "1 to 5 runs" in note(summary, "runs")
    assert "accuracy 99.0 (the polyglot, Keras)." in note(summary, "others reported")
    assert "%" in note(summary, "noise floor")


def test_what_others_reported_is_one_note_per_measure_and_source():
    place = {"source": "Rosetta", "machine": "K80", "year": 2017}
    seconds = {"measure": "seconds", **place}
    expected = [
        {**seconds, "value": "149", "framework": "MXNet"},
        {**seconds, "value": "157", "framework": "Gluon"},
        {**seconds, "value": "", "framework": "Theano"},
        {"measure": "accuracy", "value": "77 to 79", "source": "Rosetta"},
    ]
    found = summarize(races.make_race(expected=expected), [])
    texts = [n.text for n in found.notes if n.about == "others reported"]
    assert texts == [
        "seconds MXNet 149, Gluon 157 (Rosetta, K80, 2017).",
        "accuracy 77 to 79 (Rosetta).",
    ]


def test_heading_names_the_digits(summary):
    assert summary.heading == (
        "mnist-cnn on digits (embedded, 1,500 + 297 observations; not MNIST)"
    )
    assert summary.digits


def test_heading_of_real_data():
    data = {**races.DATA, "name": "mnist", "train": 60000, "test": 10000}
    real = summarize(races.make_race(data=data, limit=2000), [])
    assert real.heading == "mnist-cnn on mnist (60,000 + 10,000 observations)"
    assert ("limit", "first 2,000 observations") in real.facts
    assert not real.digits
    assert all(r.status == "pending" and r.error for r in real.rows)


def test_the_newest_of_two_records_counts():
    old = races.make_record("pytorch", 0, date="2026-01-01", train_seconds=99.0)
    old["path"] = "records/old.json"
    new = races.make_record("pytorch", 0, date="2026-01-02", train_seconds=8.0)
    for records in ([old, new], [new, old]):
        found = summarize(races.make_race(labels=["pytorch"]), records)
        assert found.rows[0].train.values == (8.0,)
        assert found.superseded == ("records/old.json",)


def test_unchecked_is_not_ranked():
    records = [races.make_record("pytorch", n, equal=None) for n in range(3)]
    records += [races.make_record("flax", n) for n in range(3)]
    found = summarize(races.make_race(labels=[]), records)
    assert row(found, "pytorch").unranked == "not checked"
    assert row(found, "flax").place == "1"
    assert "PyTorch" in note(found, "not checked")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None])
def test_a_run_that_diverged_is_infinitely_slow(wrong):
    records = [races.make_record("pytorch", n) for n in range(3)]
    for record in records[1:]:
        record["losses"] = [2.3, wrong]
    found = summarize(races.make_race(labels=[]), records).rows[0]
    assert math.isinf(found.train.median)
    assert found.unranked == "did not converge"


def test_outliers_are_marked():
    records = [races.make_record("pytorch", n) for n in range(5)]
    records[2]["train_seconds"] = 30.0
    found = summarize(races.make_race(labels=[]), records)
    assert [run.outlier for run in found.rows[0].runs] == [False] * 2 + [True] + [
        False
    ] * 2
    assert "PyTorch run 2 (30.0 s)" in note(found, "outliers")
    assert 30.0 in found.rows[0].train.values


def test_disturbed_runs_are_flagged_and_count():
    records = [races.make_record("pytorch", n, others_cpus=0.01) for n in range(5)]
    records[2]["others_cpus"] = 0.72
    found = summarize(races.make_race(labels=[]), records)
    said = "PyTorch 2.13.0: others kept 0.7 of 2 CPUs during 1 of 5 runs."
    assert note(found, "disturbed") == said and found.rows[0].n == 5
    records[2]["others_cpus"] = 0.0
    foreign = [{"pid": 7, "name": "somebody", "megabytes": 80}]
    records[2]["disturbance"] = {"gpu_processes": foreign}
    quiet = summarize(races.make_race(labels=[]), records)
    assert "disturbed" not in {item.about for item in quiet.notes}
    records[2]["device"] = "cuda"
    found = summarize(races.make_race(labels=[]), records)
    assert "others kept the GPU during 1 of 5" in note(found, "disturbed")


def test_when_a_slow_first_step_has_paid():
    slow = races.make_record("pytorch", 0, first_step_seconds=1.0, step_ms=100.0)
    fast = races.make_record("flax", 0, first_step_seconds=3.0, step_ms=60.0)
    found = summarize(races.make_race(labels=[]), [slow, fast])
    assert note(found, "first step") == (
        "that of Flax 0.12.8 takes 2.00 s longer than that of PyTorch 2.13.0, and has "
        "paid after 50 steps."
    )


def test_two_versions_of_a_framework_are_two_rows():
    records = [
        races.make_record("pytorch", 0, label=label, version=version)
        for label, version in (("pytorch", "2.13.0"), ("pytorch==2.12.1", "2.12.1"))
    ]
    found = summarize(races.make_race(labels=[]), records)
    assert {r.name for r in found.rows} == {"PyTorch 2.13.0", "PyTorch 2.12.1"}


def test_a_network_that_is_only_run_forward():
    record = races.make_record(
        "pytorch", 0, metric="", score=None, confusion=None, losses=[]
    )
    found = summarize(races.make_race(labels=[], expected=[]), [record])
    text = terminal.text(found, 200)
    assert "one pass" in text and "accuracy" not in text
    assert plots.loss(found) is None and plots.phases(found)


def test_a_record_with_nothing_in_it():
    found = summarize({}, [{"label": "x", "repeat": 0, "status": "done"}])
    assert found.rows[0].unranked == "not checked"
    for width in (80, 200):
        assert "x" in terminal.text(found, width)
    files.html(found, {})
    files.markdown(found)
    files.as_json(found)


# --- The terminal ---------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_table_fits(summary, width):
    lines = terminal.text(summary, width).split("\n")
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text and "\x1b" not in text
    for expected in (
        "PyTorch",
        "2.13.0",
        "98.32 %",
        "7.99",
        "310 MB",
        "=1",
        "textbook",
    ):
        assert expected in text
    assert "not MNIST" in text.replace("\n", " ")


def test_colour_is_asked_for(summary):
    assert "\x1b[" in terminal.text(summary, 80, colour=True)


# --- Pictures -------------------------------------------------------------------------


def test_pictures_are_made_and_are_the_same_again(summary):
    for draw in (plots.loss, plots.phases):
        picture = draw(summary)
        assert picture.startswith(b"\x89PNG") and picture == draw(summary)
        assert draw(summary, figures.DARK) != picture


def test_curve_keeps_to_the_measured_times():
    times, values = plots.curve([4.0, 2.0, 1.0, 1.0], first=0.5, steps=3.0)
    assert times == [0.5, 1.5, 2.5, 3.5]
    assert values == [4.0, 2.0, 1.0, 1.0]
    _, smooth = plots.curve([float(i % 2) for i in range(200)], 0.1, 1.0)
    assert all(abs(value - 0.5) < 0.1 for value in smooth[10:-10])


# --- Files ----------------------------------------------------------------------------


def test_all_files_are_written(folder):
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        "race.json",
        "report.md",
        "report.csv",
        "report.json",
        "report.html",
        "loss.png",
        "phases.png",
    }


def test_a_damaged_record_is_named_and_not_fatal(folder):
    summary = files.read(folder)
    assert [path for path, _ in summary.damaged] == ["records/flax-9.json"]
    for name in ("report.md", "report.html", "report.json"):
        assert "records/flax-9.json" in (folder / name).read_text()


@pytest.mark.parametrize(
    "content",
    ["[]", "3", "{}", '{"label": "a", "status": "done", "repeat": "x"}', ""]
    + [
        json.dumps({**races.make_record("pytorch", 0), "losses": wrong})
        for wrong in (3, ["a"])
    ],
)
def test_other_damage(tmp_path, content):
    (tmp_path / "records").mkdir()
    (tmp_path / "race.json").write_text(json.dumps(races.make_race()))
    (tmp_path / "records" / "pytorch-0.json").write_text(content)
    assert len(files.write_report(tmp_path).damaged) == 1


def test_not_a_race(tmp_path):
    with pytest.raises(UserError, match="not the folder of a race"):
        files.write_report(tmp_path)


def test_csv_has_a_line_per_run(folder):
    lines = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert len(lines) == len(races.make_records())
    first = lines[0]
    made = races.make_record("pytorch", 0)
    assert first["label"] == "pytorch" and first["data"] == "digits"
    assert float(first["train_seconds"]) == made["train_seconds"]
    assert float(first["seconds_barrier"]) == made["phases"]["barrier"]
    assert {line["status"] for line in lines} == {"done", "failed", "gap", "timeout"}
    lost = next(line for line in lines if line["label"] == "mxnet")
    assert lost["train_seconds"] == "" and "libgfortran" in lost["error"]


def test_json_is_one_object(folder):
    content = json.loads((folder / "report.json").read_text())
    assert content["race"]["workload"] == "mnist-cnn"
    assert len(content["runs"]) == len(races.make_records())
    run = content["runs"][0]
    for name in (
        "workload",
        "backend",
        "label",
        "version",
        "status",
        "accuracy",
        "seconds",
        "steps",
        "step_ms",
        "peak_memory_bytes",
        "losses",
        "equal",
        "record",
    ):
        assert name in run
    assert run["equal"] is True and len(run["losses"]) == races.STEPS
    assert (folder / run["record"]).is_file()
    ranked = {item["label"]: item for item in content["table"]}
    assert ranked["flax"]["rank"] == 1 and ranked["flax"]["shared"]
    assert ranked["mxnet"]["rank"] is None


def test_json_has_no_numbers_that_are_none():
    record = races.make_record("pytorch", 0, losses=[1.0, float("nan")])
    text = files.as_json(summarize(races.make_race(labels=[]), [record]))
    content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert content["runs"][0]["losses"] == [1.0, None]
    assert content["table"][0]["train_seconds"]["median"] is None


def test_markdown(folder):
    text = (folder / "report.md").read_text()
    assert text.startswith("# mnist-cnn on digits (embedded, 1,500 + 297 observations;")
    assert "| =1 | PyTorch | 2.13.0 | 98.32 %" in text
    table = [line for line in text.split("\n") if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 9
    assert "![Loss over time](loss.png)" in text
    assert "netglot race mnist-cnn --on pytorch --threads 2 --seed 0" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (folder / link).is_file(), link


class Page(HTMLParser):
    """Collects what a page refers to, and checks that elements are closed."""

    VOID = frozenset({"meta", "img", "source", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.identities = [], [], []
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data"):
                self.references.append(value)
            if name == "id":
                self.identities.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_alone(text):
    """The page is well formed and loads nothing."""
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags and "link" not in page.tags
    for reference in page.references:
        assert not re.match(r"(\w+:)?//", reference), reference
    assert "@import" not in text and "url(" not in text
    return page


def test_html_stands_alone(folder):
    text = (folder / "report.html").read_text()
    page = check_alone(text)
    assert sum(r.startswith("data:image/png;base64,") for r in page.references) == 4
    assert "prefers-color-scheme: dark" in text
    for reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.identities
        elif reference.startswith("records/"):
            assert (folder / reference).is_file()


def test_html_holds_what_a_reader_asks_for(folder):
    text = (folder / "report.html").read_text()
    assert "not MNIST" in text
    assert text.count("<summary>The program") == len(races.FRAMEWORKS) + 1
    assert "pytorch &lt; &amp; &gt;" in text, "sources are escaped"
    assert text.count('class="confusion"') == len(races.FRAMEWORKS)
    assert "87.9 %" in text, "29 of 33 found"
    assert "netglot race mnist-cnn --on flax --threads 2 --seed 0" in text
    assert "2.21.0" in text and "3.11.2" in text
    assert "gradient of fc1.kernel" in text and "libgfortran" in text


# --- Words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0312, "0.0312"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_numbers(value, text):
    assert words.number(value) == text


def test_sizes_and_scores():
    assert words.size(312_000_000) == "312 MB"
    assert words.size(1_250_000_000) == "1.25 GB"
    assert words.score(0.98654, "accuracy") == "98.65 %"
    assert words.score(0.012345, "error") == "0.01235"
    assert words.listing(["a"]) == "a" and words.listing("abc") == "a, b and c"


# --- Programs side by side ------------------------------------------------------------


def program(backend, workload="mnist-cnn"):
    return emit.emit(workloads.get(workload), backends.get(backend))


PAIRS = [
    (workload, "pytorch", other)
    for workload in ("mnist-cnn", "cifar-vgg", "imdb-gru", "resnet50-features")
    for other in ("keras-torch", "pytorch")
]


@pytest.mark.parametrize(("workload", "one", "other"), PAIRS)
def test_each_layer_stands_on_the_same_row(workload, one, other):
    programs = [program(one, workload), program(other, workload)]
    rows = side_by_side.align(programs)
    both = set()
    for r in rows:
        if all(r.pieces):
            both |= r.pieces[0].nodes & r.pieces[1].nodes
    known = [set().union(*(p.nodes for p in side_by_side.pieces(q))) for q in programs]
    assert both == known[0] & known[1]
    assert len(both) >= 3


@pytest.mark.parametrize("workload", ["mnist-cnn", "resnet50-features"])
def test_alignment_keeps_every_line_in_order(workload):
    programs = [program("pytorch", workload), program("keras-torch", workload)]
    rows = side_by_side.align(programs)
    for i, p in enumerate(programs):
        numbers = [
            n
            for r in rows
            if r.pieces[i]
            for n in range(r.pieces[i].first, r.pieces[i].last + 1)
        ]
        lines = p.source.splitlines()
        written = [n for n, text in enumerate(lines, start=1) if text.strip()]
        assert [n for n in numbers if lines[n - 1].strip()] == written


def test_functions_of_the_same_name_stand_on_the_same_row():
    programs = [program("pytorch"), program("keras-torch")]
    rows = side_by_side.align(programs)
    for name in ("load_data", "build", "load_weights", "train_step", "predict"):
        found = [
            r for r in rows if any(p and p.about == name for p in r.pieces) and r.pieces
        ]
        assert len(found) == 1 and all(found[0].pieces)


@pytest.mark.parametrize("width", [120, 178, 250])
def test_columns_in_the_terminal(width):
    programs = [program("pytorch"), program("keras-torch")]
    text = side_by_side.show(programs, width=width)
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "self.fc1(x)" in line)
    assert "layers.Dense(128" in row
    assert "\x1b" not in text


def test_every_character_is_shown_in_narrow_columns():
    p = program("pytorch")
    text = side_by_side.show([p, p], width=121)
    left = "\n".join(line[:59] for line in text.split("\n")[1:])
    bare = re.sub(r"[\s↪│]|──[^\n]*", "", left)
    for line in p.source.splitlines():
        assert re.sub(r"\s", "", line) in bare or not line.strip()


def test_one_after_the_other_where_columns_do_not_fit():
    programs = [program("pytorch"), program("keras-torch")]
    text = side_by_side.show(programs, width=80)
    assert "│" not in text
    for p in programs:
        assert p.source in text


def test_three_programs_in_two_columns_and_one():
    programs = [program("pytorch"), program("keras-torch"), program("keras-jax")]
    text = side_by_side.show(programs, width=130)
    assert "Keras on JAX: mnist_cnn_keras_jax.py" in text
    assert side_by_side.show(programs, width=280).split("\n")[0].count("│") == 2


def test_colour_of_programs_is_asked_for():
    assert "\x1b[" in side_by_side.show([program("pytorch")], width=100, colour=True)


def test_some_steps_only():
    text = side_by_side.show([program("pytorch")], steps=("network",))
    assert "class MnistCnn" in text and "def train" not in text
    with pytest.raises(UserError, match="step of a program"):
        side_by_side.show([program("pytorch")], steps=("networks",))


def test_programs_as_markdown():
    text = side_by_side.show([program("pytorch"), program("keras-torch")], "markdown")
    assert text.count("```") % 2 == 0
    table = [line for line in text.split("\n") if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    fc2 = next(line for line in table if line.startswith("| fc2 "))
    assert "nn.Linear(128, 10)" in fc2 and "layers.Dense(10" in fc2


def test_programs_as_html():
    text = side_by_side.show([program("pytorch"), program("keras-torch")], "html")
    check_alone(text)
    assert "conv1, relu1" in text


def test_sources():
    p = program("pytorch")
    assert side_by_side.show([p], "py") == p.source
    both = side_by_side.show([p, program("keras-torch")], "py")
    assert p.source in both and "mnist_cnn_keras_torch.py" in both


def test_unknown_format():
    with pytest.raises(UserError, match="format"):
        side_by_side.show([program("pytorch")], "pdf")


# --- Notebooks ------------------------------------------------------------------------


@pytest.mark.parametrize("workload", workloads.names())
@pytest.mark.parametrize("backend", ["pytorch", "keras-torch"])
def test_notebook_is_valid(workload, backend):
    text = side_by_side.show([program(backend, workload)], "ipynb")
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    compile("\n".join(code), "notebook", "exec")
    whole = "\n".join(code)
    assert "args" not in whole and "argparse" not in whole
    assert "__main__" not in whole and "def main" not in whole
    headings = [c.source for c in book.cells if c.cell_type == "markdown"]
    assert headings[1] == "## 1. Load the data" and headings[-1] == "## Run it"
    assert text == side_by_side.notebook(program(backend, workload))


def test_notebook_runs_what_main_runs():
    cells = notebooks.cells(program("pytorch").source)
    last = [text for kind, text in cells if kind == "code"][-5:]
    assert last == [
        'data = "mnist.npz"\nepochs = EPOCHS\nseed = 0',
        "x_train, y_train, *test = load_data(data)",
        "model, optimizer = build(seed)",
        "train(model, optimizer, x_train, y_train, epochs, seed, validation=test)",
        "evaluate(model, *test)",
    ]


def test_notebook_of_several_programs_is_refused():
    with pytest.raises(UserError, match="one program"):
        side_by_side.show([program("pytorch"), program("keras-jax")], "ipynb")


# --- Imports --------------------------------------------------------------------------


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, netglot.report.files, netglot.report.terminal, "
        "netglot.report.side_by_side, netglot.report.notebooks\n"
        "print([m for m in ('matplotlib', 'rich', 'jinja2', 'nbformat', 'scipy', "
        "'pygments') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
