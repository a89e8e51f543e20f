"""Python source as values: calls are nested, quoted and broken into lines in one place.

A rule returns an ``Expression``: a ``Call``, a number, a tuple, or a string that is
source text already (``quoted("relu")`` for a string of the program). Lines break as the
formatters black and ruff break them, so that no formatter would change a program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netglot.symbols import Symbol

WIDTH = 88


@dataclass(frozen=True)
class Call:
    """``function(*arguments, **keywords)``; the function may itself be a call."""

    function: str | Call
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Statements:
    """What takes more than an expression: lines of source, and the value after them."""

    lines: tuple[str, ...]
    value: Expression


Expression = str | int | float | bool | tuple | Call | Symbol


@dataclass(frozen=True)
class Line:
    """A line of a program, and the node of the network that it belongs to, if any."""

    text: str
    node: str = ""


def call(function: str | Call, /, *arguments: Any, **keywords: Any) -> Call:
    """A call; arguments that are ``None`` are left out (``"None"`` writes one)."""
    return Call(
        function,
        tuple(a for a in arguments if a is not None),
        tuple((name, value) for name, value in keywords.items() if value is not None),
    )


def quoted(text: str) -> str:
    """A string literal of the program."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unless(default: Any, value: Any) -> Any:
    """The value, or ``None``, which ``call`` leaves out, where it is the default."""
    return None if value == default else value


def squeeze(values: tuple[Any, ...]) -> Any:
    """One number where all are equal: ``(3, 3)`` is written as ``3``."""
    return values[0] if all(value == values[0] for value in values) else values


def inline(expression: Expression) -> str:
    """The expression on one line, however long."""
    if isinstance(expression, Call):
        items = [inline(a) for a in expression.arguments]
        items += [f"{name}={inline(value)}" for name, value in expression.keywords]
        return f"{inline(expression.function)}({', '.join(items)})"
    if isinstance(expression, tuple):
        comma = "," if len(expression) == 1 else ""
        return f"({', '.join(map(inline, expression))}{comma})"
    if isinstance(expression, float):
        # 1e-5 and 1e30, as people write them.
        return str(expression).replace("e-0", "e-").replace("e+", "e")
    return str(expression)


def layout(prefix: str, expression: Expression, suffix: str = "") -> list[str]:
    """Lines of ``prefix expression suffix``, broken where they would be too long.

    The prefix may begin with spaces: the indentation of the whole.
    """
    one = prefix + inline(expression) + suffix
    if len(one) <= WIDTH or not isinstance(expression, Call):
        return [one]
    if isinstance(expression.function, Call):
        # layers.Dense(...)(x): the first brackets are broken, the last stay whole,
        # unless all but what is in them fits.
        items = [inline(a) for a in expression.arguments]
        items += [f"{name}={inline(value)}" for name, value in expression.keywords]
        head = f"{prefix}{inline(expression.function)}("
        margin = " " * (len(prefix) - len(prefix.lstrip()))
        if len(head) <= WIDTH:
            return [head, f"{margin}    {', '.join(items)}", f"{margin}){suffix}"]
        return layout(prefix, expression.function, f"({', '.join(items)}){suffix}")
    margin = " " * (len(prefix) - len(prefix.lstrip()))
    inside = margin + "    "
    parts: list[tuple[str, Expression]] = [("", a) for a in expression.arguments]
    parts += [(f"{name}=", value) for name, value in expression.keywords]
    joined = inside + ", ".join(name + inline(value) for name, value in parts)
    lines = [f"{prefix}{expression.function}("]
    if len(joined) <= WIDTH:
        lines.append(joined)
    else:
        comma = "," if len(parts) > 1 else ""
        for name, value in parts:
            lines += layout(inside + name, value, comma)
    return [*lines, f"{margin}){suffix}"]
