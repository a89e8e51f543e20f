"""The languages that programs are written in."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: First line, last line and name of a function or class; lines count from 1.
Definition = tuple[int, int, str]


@dataclass(frozen=True)
class Script:
    """A language.

    ``name`` is what highlighters call it, ``suffix`` ends the name of a program,
    ``command`` runs it. ``comment`` begins one. ``keywords`` are no names of variables.
    ``functions`` finds the functions and classes at the top level of a source.
    ``blocks`` is a pattern of the texts without code: long comments, strings that
    explain. ``arrays`` ends the names of the files that its programs read, prepared
    data and weights; ``dash`` begins an option of theirs. ``first`` is the number of
    the first class, word or element.
    """

    name: str
    suffix: str
    command: str
    comment: str
    keywords: frozenset[str]
    functions: Callable[[str], Iterator[Definition]]
    blocks: str
    arrays: str = ".npz"
    dash: str = "--"
    first: int = 0

    def code_lines(self, source: str) -> int:
        """Number of lines that are neither blank, nor comment, nor docstring."""
        text = re.sub(self.blocks, "", source, flags=re.MULTILINE)
        rows = (row.strip() for row in text.splitlines())
        return sum(bool(row) and not row.startswith(self.comment) for row in rows)

    def definitions(self, source: str) -> Iterator[Definition]:
        """Its functions and classes, each with the comment right above it."""
        lines = source.splitlines()
        for first, last, name in self.functions(source):
            while first > 1 and lines[first - 2].startswith(self.comment):
                first -= 1
            yield first, last, name


def _of_python(source: str) -> Iterator[Definition]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield first, node.end_lineno or node.lineno, node.name


def _of_lua(source: str) -> Iterator[Definition]:
    first, name = 0, ""
    for number, line in enumerate(source.splitlines(), start=1):
        head = re.match(r"(?:local )?function (\w+)\(", line)
        if head:
            first, name = number, head[1]
        elif line == "end" and name:
            yield first, number, name
            name = ""


PYTHON = Script(
    "python",
    ".py",
    "python",
    "#",
    frozenset(keyword.kwlist),
    _of_python,
    r'^ *"""(?:.|\n)*?"""\n',
)
LUA = Script(
    "lua",
    ".lua",
    "th",
    "--",
    frozenset(
        (
            *("and", "break", "do", "else", "elseif", "end", "false", "for"),
            *("function", "goto", "if", "in", "local", "nil", "not", "or", "repeat"),
            *("return", "then", "true", "until", "while"),
        )
    ),
    _of_lua,
    r"^--\[\[(?:.|\n)*?\]\]\n",
    arrays=".t7",
    dash="-",
    first=1,
)
