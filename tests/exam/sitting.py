"""The exam as a command: tasks for some processes, tables, and the score."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from exam import generated, taking
from exam.desk import Desk
from exam.mistakes import BASES
from exam.taking import Judged, Pair

#: The share of planted mistakes that must be answered rightly.
NEEDED = 0.95
#: So many comparisons are one task of a process.
PART = 8
#: A task's desk: kept by each process for all of its tasks.
_DESK: list[Desk] = []


def _start(folder: str) -> None:
    name = multiprocessing.current_process().name
    _DESK.append(Desk(Path(folder) / name))


def _stop() -> None:
    for desk in _DESK:
        desk.__exit__()


def _mistakes(cases: list[taking.Planted]) -> list[Any]:
    return [taking.judge(_DESK[0], case) for case in cases]


def _correct(base: str, given: list[tuple[Any, ...]]) -> list[Any]:
    return [taking.compare_correct(_DESK[0], BASES[base], *one) for one in given]


def _generated(names: list[str]) -> list[Any]:
    return list(generated.compare_all(_DESK[0], names))


def _tasks(options: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    """Functions with arguments; those of one network together, the long ones first."""
    fits = re.compile(options.only)
    if not options.correct:
        for base in BASES:
            cases = [
                case
                for case in taking.planted()
                if case.mistake.base == base
                and fits.search(f"{base}: {case.mistake.kind}")
                and (not options.right or case.right == options.right)
            ]
            for start in range(0, len(cases), PART):
                yield _mistakes, cases[start : start + PART]
    if options.mistakes:
        return
    for base in BASES.values():
        given = list(taking.pairs(base))
        if given and fits.search(base.name):
            for start in range(0, len(given), PART):
                yield _correct, base.name, given[start : start + PART]
    names = [name for name in generated.names() if fits.search(name)]
    for start in range(0, len(names), PART):
        yield _generated, names[start : start + PART]


def main() -> int:
    """Takes the exam; 1 under ``NEEDED`` or with any false alarm."""
    parser = argparse.ArgumentParser(
        prog="exam",
        description="Plants mistakes in models; each must be found and named.",
    )
    parser.add_argument("--only", default="", help="networks and kinds, a pattern")
    parser.add_argument("--right", default="", help="mistakes in this framework alone")
    parser.add_argument("--mistakes", action="store_true", help="no correct pairs")
    parser.add_argument("--correct", action="store_true", help="correct pairs alone")
    parser.add_argument("--jobs", type=int, default=2, help="processes [2]")
    parser.add_argument("--verbose", action="store_true", help="all as it comes")
    parser.add_argument("--json", type=Path, help="a file for everything")
    options = parser.parse_args()
    start = time.perf_counter()
    judged: list[Judged] = []
    pairs: list[Pair] = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pool = ProcessPoolExecutor(options.jobs, context, _start, (folder,))
        with pool:
            running = [pool.submit(*task) for task in _tasks(options)]
            for done in as_completed(running):
                for one in done.result():
                    (judged if isinstance(one, Judged) else pairs).append(one)
                wrong = [one for one in judged if not one.right_answer]
                false = [pair for pair in pairs if pair.alarms]
                print(
                    f"  {len(judged)} mistakes ({len(wrong)} missed), {len(pairs)} "
                    f"pairs ({len(false)} false alarms), "
                    f"{time.perf_counter() - start:.0f} s",
                    file=sys.stderr,
                )
                if options.verbose:
                    for one in done.result():
                        print(one, file=sys.stderr)
            for _ in range(options.jobs):
                pool.submit(_stop)
    seconds = time.perf_counter() - start
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "seconds": round(seconds, 1),
                    "mistakes": [dataclasses.asdict(one) for one in judged],
                    "pairs": [dataclasses.asdict(pair) for pair in pairs],
                },
                indent=1,
            )
        )
    return report(judged, pairs, seconds)


def report(judged: list[Judged], pairs: list[Pair], seconds: float) -> int:
    """Print the tables; the exit status."""
    if judged:
        for line in table(judged):
            print(line)
    looked = [pair for pair in pairs if not pair.left_out]
    false = [pair for pair in looked if pair.alarms]
    for pair in false:
        print(f"FALSE ALARM {pair.what}: {pair.left} -> {pair.right}")
        for alarm in pair.alarms[:3]:
            print(f"    {alarm[-500:]}")
    reasons: dict[str, int] = {}
    for pair in pairs:
        if pair.left_out:
            reasons[pair.left_out] = reasons.get(pair.left_out, 0) + 1
    left_out = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    print(
        f"{len(looked)} correct pairs, {len(false)} false alarms"
        + (f"; left out: {left_out}" if left_out else "")
    )
    right = sum(one.right_answer for one in judged)
    missed = [one for one in judged if not one.right_answer]
    for one in missed:
        wrong = "" if one.found else "not found"
        wrong = wrong or ("another cause" if one.layer else "another layer")
        print(f"MISSED {one.base}: {one.kind} ({one.left} -> {one.right}): {wrong}")
        print(f"    said first: {one.fault[-700:] or one.first[-300:]}")
    share = right / len(judged) if judged else 1.0
    print(
        f"score: {right} of {len(judged)} planted mistakes ({share:.1%}) have the "
        f"right layer and cause first; {sum(one.found for one in judged)} are found; "
        f"{seconds / 60:.1f} minutes"
    )
    return int(share < NEEDED or bool(false))


def table(judged: Iterable[Judged]) -> Iterator[str]:
    """A line per kind: what was answered rightly, by framework."""
    rows: dict[tuple[str, str], dict[str, Judged]] = {}
    for one in judged:
        rows.setdefault((one.base, one.kind), {})[one.right] = one
    hands = sorted({one.right for row in rows.values() for one in row.values()})
    width = max(len(kind) for _, kind in rows) + 2
    yield f"{'kind':{width}}" + "".join(f"{hand:>13}" for hand in hands)
    base = ""
    for (name, kind), row in rows.items():
        if name != base:
            base = name
            yield f"-- {name}"
        marks = (_mark(row[hand]) if hand in row else "" for hand in hands)
        yield f"{kind:{width}}" + "".join(f"{mark:>13}" for mark in marks)


def _mark(one: Judged) -> str:
    if one.right_answer:
        return f"{one.seconds:.1f} s"
    return "NOT FOUND" if not one.found else ("CAUSE" if one.layer else "LAYER")
