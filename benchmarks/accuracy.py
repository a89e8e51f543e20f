"""Accuracies of finished races, as one Markdown table: workloads x frameworks.

    python benchmarks/accuracy.py RACE_FOLDER...

A cell has the score of each run, by seed; "on N" where it was trained on the first N
observations only, and "not equal" where the program is. Below it, per workload, how far
frameworks are apart with one seed, and seeds with one framework.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from netglot import backends

Runs = dict[tuple[str, str], list[dict[str, Any]]]


def read(folders: list[Path]) -> Runs:
    """The finished runs by workload and framework, in order of seeds."""
    found: Runs = defaultdict(list)
    for folder in folders:
        for path in sorted((folder / "records").glob("*.json")):
            record = json.loads(path.read_text())
            if record["status"] == "done":
                found[record["workload"], record["label"]].append(record)
    for runs in found.values():
        runs.sort(key=lambda run: (run["limit"] or 0, run["seed"], run["repeat"]))
    return found


def cell(runs: list[dict[str, Any]]) -> str:
    """``98.26, 98.19 (seed 1)``."""
    texts = []
    for run in runs:
        text = f"{100 * run['score']:.2f}"
        if run["seed"]:
            text += f" (seed {run['seed']})"
        if run["limit"]:
            text += f" on {run['limit']:,}"
        if not run["equal"]["equal"]:
            text += " not equal"
        texts.append(text)
    return ", ".join(texts) or "–"


def spread(found: Runs, workload: str) -> str:
    """The range over frameworks with seed 0, and over seeds with each framework."""
    whole = {
        label: [run for run in runs if not run["limit"]]
        for (task, label), runs in found.items()
        if task == workload
    }

    def of(scores: list[float]) -> str:
        return f"{100 * min(scores):.2f} to {100 * max(scores):.2f}"

    first = [run["score"] for runs in whole.values() for run in runs if not run["seed"]]
    text = f"- {workload}: {of(first)} over {len(first)} frameworks"
    seeds = {
        label: [run["score"] for run in runs]
        for label, runs in whole.items()
        if len(runs) > 1
    }
    for label, scores in seeds.items():
        text += f"; {of(scores)} over {len(scores)} seeds of {label}"
    return text


def main() -> None:
    folders = [Path(word) for word in sys.argv[1:]]
    if not folders:
        raise SystemExit(__doc__)
    found = read(folders)
    names = backends.names()
    print("|", " | ".join(["workload", *names]), "|")
    print("|", " | ".join([":--", *["--:"] * len(names)]), "|")
    tasks = list(dict.fromkeys(task for task, _ in found))
    for task in tasks:
        cells = [cell(found.get((task, name), [])) for name in names]
        print("|", " | ".join([task, *cells]), "|")
    print()
    for task in tasks:
        print(spread(found, task))


if __name__ == "__main__":
    main()
