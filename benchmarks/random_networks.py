"""Random networks in every framework: is any program other than its definition?

    python benchmarks/random_networks.py --graphs 2000 --seed 0 [--on pytorch,flax]
                                         [--single 10] [--steps 5] [--jobs 2]
                                         [--quick] [--out FOLDER]

Draws networks (tests/random_graphs.py), has their programs run in float64, every
``--single``-th also in float32, and compares every value and every gradient with the
reference. A network that differs somewhere is drawn smaller and smaller as long as it
still does (the first of its kind only), and written to the folder as JSON, with its
weights, its input and the program. What is done is noted there: a run that was
interrupted goes on. Ends with a summary, and with status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import Phase, given, seed, settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from netglot import backends  # noqa: E402
from netglot.graph import Graph, to_json  # noqa: E402
from random_graphs import (  # noqa: E402
    QUIET,
    Exam,
    Examiner,
    Outcome,
    batches_of,
    exams,
    graphs,
    sample,
    unasked,
    weights_of,
)

#: Networks that are drawn with one seed; those of another are other ones.
BLOCK = 100
#: How many smaller networks are tried for one that differs.
SMALLER = 150


def drawn(args: argparse.Namespace) -> Iterator[tuple[int, int, Graph]]:
    """Number, seed of the block and network; each network once."""
    seen: set[str] = set()
    number = 0
    for block in itertools.count():
        key = args.seed * 100_000 + block
        for graph in sample(BLOCK, key, args.steps):
            text = json.dumps(to_json(graph))
            if text not in seen:
                seen.add(text)
                yield number, key, graph
                number += 1
            if number == args.graphs:
                return


def judged(
    examiner: Examiner,
    pool: ThreadPoolExecutor,
    names: Sequence[str],
    number: int,
    graph: Graph,
    dtypes: Sequence[str],
) -> list[tuple[Exam, Outcome]]:
    """All exams of a network in all frameworks; one that is not asked counts once."""
    found = []
    for exam in exams(graph, dtypes):
        why = unasked(exam, number)
        if why:
            outcome = Outcome("", exam.kind, exam.dtype, "unasked", why)
            found.append((exam, outcome))
            continue
        results = pool.map(lambda n, e=exam: examiner.judge(e, n, number), names)
        found += [(exam, outcome) for outcome in results]
    return found


def smaller(
    examiner: Examiner, key: int, number: int, first: Graph, outcome: Outcome, most: int
) -> tuple[Graph, Outcome]:
    """The simplest network found that differs in the same framework and exam."""
    best: list[Any] = [first, outcome]
    seen: list[Graph] = []

    def differs(graph: Graph) -> Outcome | None:
        for exam in exams(graph, (outcome.dtype,)):
            if exam.kind == outcome.kind and not unasked(exam, number):
                found = examiner.judge(exam, outcome.backend, number)
                return found if found.status == "different" else None
        return None

    @seed(key)
    @settings(
        max_examples=BLOCK,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        **QUIET,
    )
    @given(graphs(most))
    def shrink(graph: Graph) -> None:
        # The same seed draws the same networks: nothing differs before this one.
        if not seen and graph != first:
            return
        seen.append(graph)
        if len(seen) > SMALLER:
            return
        found = differs(graph)
        if found and len(json.dumps(to_json(graph))) <= len(
            json.dumps(to_json(best[0]))
        ):
            best[:] = [graph, found]
        assert found is None

    try:
        shrink()
    except BaseException as error:
        # Whatever Hypothesis says of it: the smallest one is known.
        if isinstance(error, KeyboardInterrupt):
            raise
    return best[0], best[1]


def written(
    folder: Path, number: int, graph: Graph, least: Graph, outcome: Outcome, words: str
) -> Path:
    """A folder with everything that shows the difference."""
    place = folder / f"{number}-{outcome.backend}-{outcome.kind}-{outcome.dtype}"
    place.mkdir(parents=True, exist_ok=True)
    graph.save(place / "drawn.json")
    least.save(place / "graph.json")
    np.savez(place / "weights.npz", **weights_of(least, number))  # type: ignore
    ((x, y),) = batches_of(least, number)
    np.savez(place / "inputs.npz", x=x, y=y)
    (place / "program.py").write_text(outcome.source)
    (place / "reason.txt").write_text(f"{outcome.reason}\n\nAs drawn:\n{words}\n")
    return place


def short(reason: str) -> str:
    """A gap without the node that it was found at."""
    return "; ".join(
        sorted({part.partition(": ")[2] or part for part in reason.split("; ")})
    )


def _kind(reason: str) -> str:
    """The first line without its numbers."""
    return re.sub(r"[\d.e+-]+", "", reason.splitlines()[0])


def summary(rows: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """Everything counted."""
    names = args.on.split(",")
    print(f"\n{len(rows)} networks")
    columns = ("values float64", "gradients float64", "values float32")
    columns = (*columns, "gradients float32")
    total = Counter()  # type: ignore[var-annotated]
    reasons: dict[str, Counter[str]] = {}
    for row in rows:
        for item in row["outcomes"]:
            column = f"{item['kind']} {item['dtype']}"
            total[item["backend"], column, item["status"]] += 1
            if item["status"] in ("gap", "unasked", "defect"):
                reasons.setdefault(item["status"], Counter())[
                    f"{item['backend'] or 'all'}: {short(item['reason'])}"
                ] += 1
    print(
        f"{'programs: equal, different, gap':34}" + "".join(f"{c:>22}" for c in columns)
    )
    for name in names:
        cells = (
            ", ".join(str(total[name, c, s]) for s in ("equal", "different", "gap"))
            for c in columns
        )
        print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))
    equal = sum(n for (_, _, status), n in total.items() if status == "equal")
    different = sum(n for (_, _, status), n in total.items() if status == "different")
    print(f"{equal + different} programs were run, {different} of them differ")
    titles = {"unasked": "Not asked", "gap": "Gaps", "defect": "Known defects"}
    for status, title in titles.items():
        print(f"\n{title}:")
        for reason, count in reasons.get(status, Counter()).most_common():
            print(f"{count:6}  {reason}")
    for row in rows:
        for item in row["outcomes"]:
            if item["status"] == "different":
                line = item["reason"].splitlines()[0]
                print(f"network {row['number']}, {item['backend']}: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--single", type=int, default=10, help="0: no float32")
    parser.add_argument("--steps", type=int, default=5, help="of a network, at most")
    parser.add_argument("--jobs", type=int, default=1, help="frameworks at a time")
    parser.add_argument(
        "--quick", action="store_true", help="XLA does not optimize: half the time"
    )
    parser.add_argument("--out", type=Path, default=Path("build/random"))
    args = parser.parse_args()
    names = args.on.split(",")
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / f"seed-{args.seed}.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {row["number"] for row in rows}
    if done:
        print(f"{len(done)} networks were checked before")
    examiner = Examiner(args.out, "hurried" if args.quick else "judged")
    kinds: set[tuple[str, ...]] = set()
    start, begun = time.monotonic(), len(done)
    with ThreadPoolExecutor(args.jobs) as pool, log.open("a") as file:
        for number, key, graph in drawn(args):
            if number in done:
                continue
            wide = args.single and number % args.single == 0
            dtypes = ("float64", "float32") if wide else ("float64",)
            results = judged(examiner, pool, names, number, graph, dtypes)
            outcomes = []
            for _, outcome in results:
                told = {k: v for k, v in vars(outcome).items() if k != "source"}
                outcomes.append(told)
                if outcome.status == "different":
                    least, found = graph, outcome
                    kind = (outcome.backend, outcome.kind, _kind(outcome.reason))
                    if kind not in kinds:
                        kinds.add(kind)
                        least, found = smaller(
                            examiner, key, number, graph, outcome, args.steps
                        )
                    place = written(
                        args.out, number, graph, least, found, outcome.reason
                    )
                    print(f"DIFFERENT: {place}: {found.reason.splitlines()[0]}")
            rows.append({"number": number, "outcomes": outcomes})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            if len(rows) % 20 == 0:
                each = (time.monotonic() - start) / (len(rows) - begun)
                left = each * (args.graphs - len(rows)) / 60
                print(
                    f"{len(rows)} of {args.graphs}: {each:.1f} s each, {left:.0f} "
                    f"minutes left, {examiner.restarts} workers started anew",
                    flush=True,
                )
    examiner.close()
    summary(rows, args)
    differs = any(i["status"] == "different" for r in rows for i in r["outcomes"])
    raise SystemExit(int(differs))


if __name__ == "__main__":
    main()
