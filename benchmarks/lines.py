"""Lines of code: of every framework's file, and of the programs that it writes.

    python benchmarks/lines.py [--on pytorch,flax] [--workloads mnist-cnn,cifar-vgg]

Without blank lines, comments and docstrings, in both. A framework's file is the one
that its backend is described in: what it imports from its relatives is counted there.
Printed as GitHub's Markdown.
"""

from __future__ import annotations

import argparse
import inspect

from netglot import backends, workloads
from netglot.backend import Backend
from netglot.emit import GapError, emit
from netglot.report import words
from netglot.script import PYTHON


def of_program(backend: Backend, task: str) -> str:
    """Those of a workload's program, or a dash where the framework cannot say it."""
    try:
        program = emit(workloads.get(task), backend)
    except GapError:
        return words.NOTHING
    return str(program.code_lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--workloads", default=",".join(workloads.names()))
    args = parser.parse_args()
    tasks = args.workloads.split(",")
    print(words.row(["framework", "its file", *tasks]))
    print(words.row([":--", *["--:"] * (1 + len(tasks))]))
    for name in args.on.split(","):
        backend = backends.get(name)
        source = inspect.getsource(backends.module(name))
        programs = [of_program(backend, task) for task in tasks]
        print(words.row([backend.title, str(PYTHON.code_lines(source)), *programs]))


if __name__ == "__main__":
    main()
