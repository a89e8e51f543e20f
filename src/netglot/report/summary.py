"""What a race's records say, in one value: every output prints it and computes nothing.

summarize(race, records) -> Summary -> table, plots, Markdown, CSV, JSON, HTML
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from netglot.race.records import real, training_seconds
from netglot.race.statistics import (
    ENOUGH,
    Estimate,
    Noise,
    Rank,
    estimate,
    noise,
    paired_ratio,
    ranks,
)
from netglot.report import words

#: The phases of a run as they are drawn: title, and the fields of ``phases`` in it.
PHASES = (
    ("start, import", ("start", "import_framework", "import_program")),
    ("load data", ("load_data",)),
    ("build", ("build", "load_weights", "settle")),
    ("first step", ("first_step",)),
    ("steps", ("steps", "barrier")),
    ("evaluate", ("evaluate", "confusion")),
)


#: The share of the allowed CPUs that others may keep busy during a run.
DISTURBED = 0.05


@dataclass(frozen=True)
class Run:
    """One record, and what became of it.

    ``value`` is the seconds of training that count: infinite where the run did not
    converge, None where it was not done. ``outlier`` marks a run far from the others of
    its framework. ``path`` is the record's, inside the race's folder.
    """

    record: Mapping[str, Any]
    path: str
    value: float | None
    outlier: bool = False

    @property
    def repeat(self) -> int:
        """The number of the run, from 0."""
        return int(self.record.get("repeat", 0))

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return self.record.get("status") == "done"

    @property
    def disturbed(self) -> str:
        """What others kept busy meanwhile; "" for nothing to speak of."""
        record = self.record
        cpus = len((record.get("machine") or {}).get("allowed") or ()) or 1
        busy = real(record.get("others_cpus")) or 0.0
        foreign = (record.get("disturbance") or {}).get("gpu_processes")
        found = []
        if busy > DISTURBED * cpus:
            found.append(f"{busy:.1f} of {words.count(cpus, 'CPU')}")
        if foreign and record.get("device") != "cpu":
            found.append("the GPU")
        return " and ".join(found)


@dataclass(frozen=True)
class Row:
    """A framework in a race. Estimates are over its done runs; seconds unless said.

    ``status`` is ``done`` where at least one run was, else that of the last record
    (``pending`` where there is none). ``equal`` is None where it was not checked.
    ``spread`` is the smallest and largest score. ``ratio`` is the time of training over
    that of the fastest, by paired runs. ``typical`` is the done run whose time is
    nearest to the median: its losses and its confusion matrix are shown.
    """

    label: str
    title: str
    version: str
    status: str
    error: str
    equal: bool | None
    equality: str
    rank: Rank | None
    unranked: str
    score: float | None
    spread: tuple[float, float] | None
    train: Estimate | None
    step_ms: Estimate | None
    first_step: Estimate | None
    imports: Estimate | None
    memory: Estimate | None
    ratio: Estimate | None
    phases: Mapping[str, float]
    forms: Mapping[str, str]
    code_lines: int | None
    typical: Run | None
    runs: tuple[Run, ...]

    @property
    def n(self) -> int:
        """The number of done runs."""
        return sum(run.done for run in self.runs)

    @property
    def name(self) -> str:
        """Title and version: ``PyTorch 2.13.0``."""
        return f"{self.title} {self.version}".strip()

    @property
    def place(self) -> str:
        """``1``, ``=2``, or "–" where it is not ranked."""
        return str(self.rank) if self.rank else words.NOTHING

    @property
    def records(self) -> tuple[str, ...]:
        """Paths of the records."""
        return tuple(run.path for run in self.runs)


@dataclass(frozen=True)
class Note:
    """A footnote: what it is about, and its text."""

    about: str
    text: str


@dataclass(frozen=True)
class Summary:
    """A race: its title, its conditions, a row per framework (best first), footnotes.

    ``facts`` are pairs of a name and a value; ``digits`` is true where the embedded
    digits stood in for the workload's data; ``damaged`` names records that could not be
    read, with the reason; ``superseded`` records that a newer one replaces.
    """

    workload: str
    title: str
    heading: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]
    metric: str
    digits: bool
    noise: Noise | None
    damaged: tuple[tuple[str, str], ...] = ()
    superseded: tuple[str, ...] = ()
    race: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """The title of the column of scores."""
        return {"accuracy": "accuracy", "error": "mean squared error"}.get(
            self.metric, ""
        )

    @property
    def timed(self) -> str:
        """What the headline seconds are of."""
        return "end of training" if self.metric else "one pass"


def summarize(
    race: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    damaged: Iterable[tuple[str, str]] = (),
) -> Summary:
    """The summary of a race from ``race.json`` and its records (see docs/records.md).

    A record may say under ``path`` where it was read from. Of two records of the same
    run the newer counts. Labels without records are rows as well.
    """
    damaged = tuple(damaged)
    newest, superseded = _newest(records)
    labels = list(dict.fromkeys([*race.get("labels", ()), *(k[0] for k in newest)]))
    runs = {label: _runs(label, newest) for label in labels}
    rows = [_row(label, runs[label]) for label in labels]
    rows = _ranked(rows)
    floor = noise({row.label: _seconds(row) for row in rows if row.train})
    everything = [dict(run.record) for row in rows for run in row.runs]
    metric = next((r["metric"] for r in everything if "metric" in r), "accuracy")
    data: Mapping[str, Any] = race.get("data") or next(
        (r["data"] for r in everything if "data" in r), {}
    )
    summary = Summary(
        workload=str(race.get("workload", "")),
        title=str(race.get("title", "")),
        heading=_heading(race, data),
        facts=tuple(_facts(race, rows)),
        rows=tuple(rows),
        notes=(),
        metric=metric,
        digits=data.get("name") == "digits",
        noise=floor,
        damaged=damaged,
        superseded=superseded,
        race=race,
    )
    return replace(summary, notes=tuple(_notes(summary)))


# --- Runs -----------------------------------------------------------------------------


def _newest(
    records: Sequence[Mapping[str, Any]],
) -> tuple[dict[tuple[str, int], Mapping[str, Any]], tuple[str, ...]]:
    """The record that counts for each run, and the paths of the others."""
    newest: dict[tuple[str, int], Mapping[str, Any]] = {}
    superseded = []
    for record in records:
        key = str(record.get("label", "?")), int(record.get("repeat", 0))
        other = newest.get(key)
        if other is None:
            newest[key] = record
            continue
        if str(record.get("date", "")) >= str(other.get("date", "")):
            newest[key], other = record, other
        else:
            other = record
        superseded.append(_path(other))
    return newest, tuple(superseded)


def _path(record: Mapping[str, Any]) -> str:
    made = f"records/{record.get('label', '?')}-{record.get('repeat', 0)}.json"
    return str(record.get("path", made))


def _runs(
    label: str, newest: Mapping[tuple[str, int], Mapping[str, Any]]
) -> tuple[Run, ...]:
    """The runs of a label by number, outliers marked."""
    runs = [
        Run(record, _path(record), training_seconds(record))
        for (name, _), record in sorted(newest.items())
        if name == label
    ]
    done = [run for run in runs if run.done and run.value is not None]
    whole = estimate([run.value for run in done if run.value is not None])
    far = {id(done[i]) for i in whole.outliers} if whole else set()
    return tuple(Run(run.record, run.path, run.value, id(run) in far) for run in runs)


def _imports(record: Mapping[str, Any]) -> float | None:
    return real((record.get("phases") or {}).get("import_framework"))


def _phases(record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a run by the phases that are drawn."""
    phases = record.get("phases") or {}
    return {
        title: sum(real(phases.get(name)) or 0.0 for name in names)
        for title, names in PHASES
    }


def _seconds(row: Row) -> dict[int, float]:
    return {run.repeat: run.value for run in row.runs if run.value is not None}


# --- Rows -----------------------------------------------------------------------------


def _row(label: str, runs: tuple[Run, ...]) -> Row:
    done = [run for run in runs if run.done]
    told = [run.record for run in (done or runs)]
    last: Mapping[str, Any] = max(
        (run.record for run in runs), key=lambda r: str(r.get("date", "")), default={}
    )
    shown = told[-1] if told else {}
    records = [run.record for run in done]

    def over(values: Iterable[float | None]) -> Estimate | None:
        return estimate([value for value in values if value is not None])

    def each(name: str) -> Estimate | None:
        return over(real(record.get(name)) for record in records)

    train = over(run.value for run in done)
    scores = [s for s in (real(r.get("score")) for r in records) if s is not None]
    verdicts = [_equal(record) for record in records]
    equal: bool | None = None
    if verdicts and None not in verdicts:
        equal = all(verdicts)
    elif False in verdicts:
        equal = False
    judged = next((r for r in records if _equal(r) is equal), shown)
    status = "done" if done else str(last.get("status", "pending"))
    error = "" if done else str(last.get("error", "") or "not run yet")
    middle = over(scores)
    return Row(
        label=label,
        title=_title(label, shown),
        version=str(shown.get("version") or ""),
        status=status,
        error=error,
        equal=equal,
        equality=str((judged.get("equal") or {}).get("summary", "")),
        rank=None,
        unranked=_unranked(status, equal, train),
        score=middle.median if middle else None,
        spread=(min(scores), max(scores)) if scores else None,
        train=train,
        step_ms=each("step_ms"),
        first_step=each("first_step_seconds"),
        imports=over(_imports(record) for record in records),
        memory=each("peak_memory_bytes"),
        ratio=None,
        phases=_medians([_phases(record) for record in records]),
        forms=dict(shown.get("forms") or {}),
        code_lines=(shown.get("program") or {}).get("code_lines"),
        typical=_typical(done, train),
        runs=runs,
    )


def _title(label: str, record: Mapping[str, Any]) -> str:
    """The framework's title; the label's name where no record tells."""
    return str(record.get("backend_title") or label.partition("==")[0])


def _equal(record: Mapping[str, Any]) -> bool | None:
    verdict = record.get("equal")
    return verdict.get("equal") if isinstance(verdict, Mapping) else verdict


def _unranked(status: str, equal: bool | None, train: Estimate | None) -> str:
    """Why a framework has no rank; "" where it has one."""
    if status != "done":
        return _STATUS.get(status, status)
    if equal is None:
        return "not checked"
    if not equal:
        return "not equivalent"
    if train is None:
        return "no time"
    return "did not converge" if math.isinf(train.median) else ""


def _typical(done: Sequence[Run], train: Estimate | None) -> Run | None:
    if not done or train is None:
        return done[0] if done else None
    middle = train.median

    def distance(run: Run) -> tuple[float, int]:
        if run.value is None or math.isinf(run.value) or math.isinf(middle):
            return math.inf, run.repeat
        return abs(run.value - middle), run.repeat

    return min(done, key=distance)


def _medians(phases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each phase its own median."""
    result = {}
    for title, _ in PHASES:
        found = estimate([item[title] for item in phases])
        if found:
            result[title] = found.median
    return result


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Ranks and ratios; the ranked first, then the done, then the rest as asked."""
    running = {row.label: row.train for row in rows if row.train and not row.unranked}
    places = ranks(running)
    fastest = next(iter(places), None)
    against = next((_seconds(row) for row in rows if row.label == fastest), {})
    rows = [
        replace(
            row,
            rank=places.get(row.label),
            ratio=paired_ratio(_seconds(row), against) if row.train else None,
        )
        for row in rows
    ]
    order = list(places)
    slow = math.inf

    def key(row: Row) -> tuple[int, float]:
        if row.label in places:
            return 0, order.index(row.label)
        return (1, row.train.median if row.train else slow) if row.n else (2, 0.0)

    return sorted(rows, key=key)


# --- Words ----------------------------------------------------------------------------


def _heading(race: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """``mnist-cnn on digits (embedded, 1,500 + 297 observations; not MNIST)``."""
    name = str(data.get("name", ""))
    parts = []
    if data.get("train") is not None:
        parts.append(f"{data['train']:,} + {data.get('test') or 0:,} observations")
    if name == "digits":
        parts = [", ".join(["embedded", *parts]) + "; not " + _usual(race)]
    heading = str(race.get("workload", "race"))
    if name:
        heading += f" on {name}"
    return f"{heading} ({', '.join(parts)})" if parts else heading


def _usual(race: Mapping[str, Any]) -> str:
    """The data that the workload is meant for, by its title or name."""
    _, found, name = str(race.get("title", "")).rpartition(" on ")
    known = {"mnist": "MNIST", "cifar": "CIFAR-10", "resnet50": "CIFAR-10"}
    start = str(race.get("workload", "")).split("-")[0]
    return known.get(start) or (name if found else "the workload's own data")


def _facts(race: Mapping[str, Any], rows: Sequence[Row]) -> Iterable[tuple[str, str]]:
    """The conditions of the race, as pairs of a name and a value."""
    told = [run.record for row in rows for run in row.runs]
    limit = race.get("limit")
    yield "lane", str(race.get("lane", "textbook"))
    yield "limit", f"first {limit:,} observations" if limit else "none"
    yield "epochs", str(race.get("epochs") or "as in the recipe")
    batch = next((r["batch_size"] for r in told if r.get("batch_size")), None)
    if batch:
        yield "batch", str(batch)
    start = race.get("start", "same")
    yield (
        "start",
        {
            "same": "the same initial weights for all",
            "native": "each framework's own initial weights",
        }.get(start, str(start)),
    )
    yield "seed", str(race.get("seed", 0))
    threads = race.get("threads")
    yield "threads", "all" if threads is None else str(threads)
    workers, ran_on = race.get("workers", 1), race.get("ran_on") or ()
    if workers > 1:
        whose = " of a host" if ran_on else ""
        yield "processes", f"{workers}, which share every batch and the threads{whose}"
    yield "device", str(race.get("device", "cpu"))
    machine = race.get("machine") or {}
    if ran_on:
        yield "hosts", "; ".join(_hosts(ran_on))
    elif machine:
        yield "machine", _machine(machine)
    if race.get("date"):
        yield "date", str(race["date"])[:16].replace("T", " ") + " UTC"
    if race.get("netglot"):
        yield "netglot", str(race["netglot"])


def _hosts(ran_on: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """``a (ranks 0, 1: AMD EPYC 9534, 2 CPUs)``, of each host that processes ran on."""
    by_host: dict[str, list[int]] = {}
    for rank, place in enumerate(ran_on):
        by_host.setdefault(str(place["host"]), []).append(rank)
    for host, own in by_host.items():
        which = ("rank " if len(own) == 1 else "ranks ") + ", ".join(map(str, own))
        yield f"{host} ({which}: {_machine(ran_on[own[0]]['machine'])})"


def _machine(machine: Any) -> str:
    """``AMD EPYC 9534, 2 CPUs, 8.4 GB, Debian 12``."""
    if not isinstance(machine, Mapping):
        return str(machine)
    parts = [str(machine.get("cpu") or "unknown processor")]
    allowed = machine.get("allowed")
    cpus = len(allowed) if isinstance(allowed, list | tuple) else machine.get("cpus")
    if cpus or machine.get("cores"):
        parts.append(words.count(int(cpus or machine["cores"]), "CPU"))
    if machine.get("memory_bytes"):
        parts.append(words.size(float(machine["memory_bytes"])))
    parts += [
        str(gpu.get("name", gpu)) if isinstance(gpu, Mapping) else str(gpu)
        for gpu in machine.get("gpus") or ()
    ]
    if machine.get("system"):
        parts.append(str(machine["system"]))
    return ", ".join(parts)


def _notes(summary: Summary) -> Iterable[Note]:
    """The footnotes, the most important first."""
    rows = summary.rows
    for row in rows:
        if row.status == "done" and row.equal is False:
            text = f"{row.name} is not equivalent and is not ranked"
            yield Note("not equivalent", _with(text, row.equality))
    unchecked = [row.name for row in rows if row.n and row.equal is None]
    if unchecked:
        yield Note(
            "not checked",
            f"{words.listing(unchecked)}: equivalence was not checked; not ranked.",
        )
    for row in rows:
        if row.unranked == "did not converge":
            yield Note("did not converge", f"{row.name}: a loss is not a number.")
        if not row.n:
            yield Note(_STATUS.get(row.status, row.status), _with(row.name, row.error))
        lost = [run for run in row.runs if not run.done]
        if row.n and lost:
            reasons = dict.fromkeys(_with(_kind(run), _error(run)) for run in lost)
            text = f"{row.name}: {len(lost)} of {len(row.runs)} runs: "
            yield Note("failed", text + " ".join(reasons))
    forms: dict[str, list[str]] = {}
    for row in rows:
        for name, form in row.forms.items():
            forms.setdefault(f"{name}: {form}", []).append(row.name)
    for form, names in forms.items():
        yield Note("form", f"{form} ({words.listing(names)}).")
    yield from _statistical_notes(summary)
    yield from _expected(summary.race.get("expected") or ())
    for path, reason in summary.damaged:
        yield Note("damaged record", f"{path}: {reason}; left out.")
    for path in summary.superseded:
        yield Note("superseded record", f"{path}: a newer record of the run counts.")


_STATUS = {
    "failed": "failed",
    "timeout": "timeout",
    "memory": "out of memory",
    "lacking": "no environment",
    "gap": "cannot be written",
    "not here": "not trained here",
    "interrupted": "interrupted",
    "pending": "not run",
}


def _expected(items: Iterable[Mapping[str, Any]]) -> Iterable[Note]:
    """What others reported: of one measure and one source, all values in one note."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if not item.get("value"):
            continue
        facts = (item.get("source"), item.get("machine"), item.get("year"))
        source = ", ".join(str(fact) for fact in facts if fact)
        value = f"{item.get('framework', '')} {item['value']}".strip()
        groups.setdefault((str(item.get("measure")), source), []).append(value)
    for (measure, source), values in groups.items():
        yield Note("others reported", f"{measure} {', '.join(values)} ({source}).")


def _kind(run: Run) -> str:
    status = str(run.record.get("status", "failed"))
    return _STATUS.get(status, status)


def _error(run: Run) -> str:
    return str(run.record.get("error") or "")


def _with(text: str, reason: str) -> str:
    """``text: reason.``, the reason's first paragraph only."""
    first = reason.strip().split("\n\n")[0].replace("\n", " ").rstrip(".")
    return f"{text}: {first}." if first else f"{text}."


def _statistical_notes(summary: Summary) -> Iterable[Note]:
    timed = [row for row in summary.rows if row.train]
    counts = sorted({row.n for row in timed})
    if counts:
        each = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
        runs = "run" if counts == [1] else "runs"
        text = f"{each} {runs} per framework, each in a fresh process"
        if counts[-1] >= ENOUGH:
            text += "; medians with 95 % bootstrap intervals"
        yield Note("runs", text + ".")
    few = [row for row in timed if row.n < ENOUGH]
    if few:
        names = words.listing(
            f"{row.title} ({words.count(row.n, 'run')})" for row in few
        )
        if len(few) == len(timed):
            names = words.count(counts[-1], "run")
        yield Note("no interval", f"{names}; ranked by the median alone.")
    if any(row.rank and row.rank.shared for row in timed):
        yield Note(
            "shared rank",
            "the interval overlaps that of the fastest of the same rank.",
        )
    if summary.noise:
        floor = summary.noise
        yield Note(
            "noise floor",
            f"{words.share(floor.floor)}: a framework raced against itself differs by "
            f"less in 95 % of {words.count(floor.ratios, 'pair')} of runs "
            f"(typically {words.share(floor.typical)}).",
        )
    elif timed:
        yield Note("noise floor", "n/a: no framework was run twice.")
    yield from _compiling(timed)
    for row in timed:
        found = [run.disturbed for run in row.runs if run.disturbed]
        if found:
            kinds = ", ".join(dict.fromkeys(found))
            text = f"{row.name}: others kept {kinds} during {len(found)} of "
            yield Note("disturbed", text + f"{words.count(len(row.runs), 'run')}.")
    marked = [
        f"{row.title} run {run.repeat} ({words.seconds(run.value)})"
        for row in timed
        for run in row.runs
        if run.outlier
    ]
    if marked:
        yield Note("outliers", f"marked, not removed: {', '.join(marked)}.")


def _compiling(rows: Sequence[Row]) -> Iterable[Note]:
    """After how many steps a slow first step has paid, against the quickest start."""
    known = [row for row in rows if row.first_step and row.step_ms and not row.unranked]

    def first(row: Row) -> float:
        return row.first_step.median if row.first_step else math.inf

    def step(row: Row) -> float:
        return row.step_ms.median / 1000 if row.step_ms else math.inf

    quickest = min(known, key=first, default=None)
    for row in known:
        if quickest is None or step(row) >= step(quickest):
            continue
        steps = math.ceil((first(row) - first(quickest)) / (step(quickest) - step(row)))
        yield Note(
            "first step",
            f"that of {row.name} takes {words.seconds(first(row) - first(quickest))} "
            f"longer than that of {quickest.name}, and has paid after "
            f"{words.count(max(steps, 1), 'step')}.",
        )
