"""Sizes that are known only when a block is called: ``4 * channels``.

A block is written once and called with different numbers; its operations then hold
``Symbol`` values where a plain network holds integers. A symbol prints as the Python
expression that a program writes, and is evaluated when the block is expanded.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True)
class Symbol:
    """An integer expression over the parameters of a block."""

    text: str

    def __add__(self, other: Size) -> Symbol:
        """Sum."""
        return Symbol(f"{self} + {other}")

    def __radd__(self, other: int) -> Symbol:
        """Sum, number first."""
        return Symbol(f"{other} + {self}")

    def __mul__(self, other: Size) -> Symbol:
        """Product."""
        return Symbol(f"{_factor(self)} * {_factor(other)}")

    def __rmul__(self, other: int) -> Symbol:
        """Product, number first."""
        return Symbol(f"{other} * {_factor(self)}")

    def __floordiv__(self, other: Size) -> Symbol:
        """Whole quotient."""
        return Symbol(f"{_factor(self)} // {_factor(other)}")

    def __str__(self) -> str:
        """The Python expression."""
        return self.text

    def value(self, arguments: Mapping[str, Size]) -> Size:
        """The expression with each parameter replaced by its argument.

        Raises ``KeyError`` with the name of a parameter that has no argument.
        """
        return _evaluate(ast.parse(self.text, mode="eval").body, arguments)


Size = int | Symbol


def _factor(size: Size) -> str:
    text = str(size)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _evaluate(node: ast.expr, arguments: Mapping[str, Size]) -> Any:
    if isinstance(node, ast.Name):
        return arguments[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](
            _evaluate(node.left, arguments), _evaluate(node.right, arguments)
        )
    raise ValueError(f"not an expression over sizes: {ast.dump(node)}")


def resolve(value: Any, arguments: Mapping[str, Size]) -> Any:
    """``value`` with every symbol in it, also inside tuples, replaced."""
    if isinstance(value, Symbol):
        return value.value(arguments)
    if isinstance(value, tuple):
        return tuple(resolve(item, arguments) for item in value)
    return value
