"""A program as a Jupyter notebook: a heading per step, a cell per function."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from netglot.backend import Program
from netglot.errors import UserError
from netglot.script import PYTHON

_STEP = re.compile(r"# (\d+\. .+)")


def notebook(program: Program) -> str:
    """The notebook (nbformat 4) as JSON. It is the same for the same program.

    Raises ``UserError`` for a program that is no Python.
    """
    if program.script is not PYTHON:
        raise UserError(
            f"A notebook is of Python, and {program.name} is not: show it as text, or "
            f"have the file with `netglot write {program.workload} --for "
            f"{program.backend}`."
        )
    import nbformat
    from nbformat import v4

    made: list[nbformat.NotebookNode] = []
    for kind, text in cells(program.source):
        cell = v4.new_markdown_cell(text) if kind == "text" else v4.new_code_cell(text)
        # Instead of random names, so that the same program gives the same file.
        cell["id"] = f"cell-{len(made)}"
        made.append(cell)
    book = v4.new_notebook(
        cells=made,
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            },
            "language_info": {"name": "python"},
            "title": program.name.removesuffix(".py"),
        },
    )
    nbformat.validate(book)
    return str(nbformat.writes(book)) + "\n"


def cells(source: str) -> list[tuple[str, str]]:
    """Pairs of a kind (``text`` or ``code``) and what is in the cell.

    The docstring becomes a heading, as does the comment above each step. ``main``
    becomes the calls in it, with the defaults of the command line.
    """
    lines = source.splitlines()
    tree = ast.parse(source)
    found: list[tuple[str, str]] = []
    plain: list[str] = []
    # The line of the file after the last one that was dealt with.
    reached = 0

    def flush() -> None:
        if any(line.strip() for line in plain):
            found.append(("code", "\n".join(plain).strip("\n")))
        plain.clear()

    for statement in tree.body:
        first, last = _first(statement) - 1, statement.end_lineno or statement.lineno
        above, reached = lines[reached:first], last
        for line in above:
            step = _STEP.fullmatch(line)
            if step:
                flush()
                found.append(("text", f"## {step[1]}"))
            else:
                plain.append(line)
        text = lines[first:last]
        if _is_docstring(statement):
            title = str(ast.literal_eval(text_of(statement, source))).split("\n")[0]
            found.append(("text", f"# {title.rstrip('.')}"))
        elif isinstance(statement, ast.If):
            continue
        elif isinstance(statement, ast.FunctionDef) and statement.name == "main":
            flush()
            found += _main(statement, tree, source)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            comments = _trailing_comments(plain)
            flush()
            found.append(("code", "\n".join([*comments, *text])))
        else:
            plain += text
    flush()
    return _without_unused(found, "argparse")


def text_of(node: ast.AST, source: str) -> str:
    """The source of a node."""
    return ast.get_source_segment(source, node) or ""


def _first(statement: ast.stmt) -> int:
    """The first line of a statement, decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _trailing_comments(lines: list[str]) -> list[str]:
    """Takes the comment lines off the end: they belong to what follows."""
    comments: list[str] = []
    while lines and lines[-1].startswith("#"):
        comments.insert(0, lines.pop())
    return comments


def _without_unused(
    found: Sequence[tuple[str, str]], module: str
) -> list[tuple[str, str]]:
    """Without the import of a module that only the command line needed."""
    line = f"import {module}\n"
    rest = "".join(text.replace(line, "") for kind, text in found if kind == "code")
    if re.search(rf"\b{module}\b", rest):
        return list(found)
    return [(kind, text.replace(line, "").strip("\n")) for kind, text in found]


# --- main -----------------------------------------------------------------------------


def _main(
    main: ast.FunctionDef, tree: ast.Module, source: str
) -> Iterable[tuple[str, str]]:
    """The cells instead of ``main``: settings, then a cell per call."""
    options = _options(main, source)
    parser = _parser_statements(main)
    statements = [s for s in main.body if s not in parser and not _asks(s, options)]
    taken = {getattr(s, "name", "") for s in tree.body}
    names = {name: f"{name}_" if name in taken else name for name in options}

    def plain(statement: ast.stmt) -> str:
        rows = source.splitlines()[_first(statement) - 1 : statement.end_lineno]
        text = "\n".join(row.removeprefix("    ") for row in rows)
        return re.sub(r"\bargs\.(\w+)", lambda m: names.get(m[1], m[1]), text)

    texts = [plain(statement) for statement in statements]
    used = "\n".join(texts)
    settings = [
        f"{names[name]} = {value}"
        for name, value in options.items()
        if value is not None and re.search(rf"\b{names[name]}\b", used)
    ]
    yield "text", "## Run it"
    if settings:
        yield "code", "\n".join(settings)
    group: list[str] = []
    for statement, text in zip(statements, texts, strict=True):
        if group and _calls(statement) & {"load_data", "build", "train", "extract"}:
            yield "code", "\n".join(group)
            group = []
        group.append(text)
    if group:
        yield "code", "\n".join(group)
    evaluation = _evaluation(statements, tree)
    if evaluation:
        yield "code", evaluation


def _options(main: ast.FunctionDef, source: str) -> dict[str, str | None]:
    """Options of the command line with the source of their defaults."""
    found: dict[str, str | None] = {}
    for node in ast.walk(main):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "add_argument"
            and node.args
        ):
            continue
        name = str(ast.literal_eval(node.args[0])).lstrip("-").replace("-", "_")
        default = next((k.value for k in node.keywords if k.arg == "default"), None)
        found[name] = text_of(default, source) if default else None
    return found


def _parser_statements(main: ast.FunctionDef) -> list[ast.stmt]:
    """Statements that make, fill or ask the parser."""
    return [s for s in main.body if re.search(r"\bparser\b", ast.unparse(s))]


def _asks(statement: ast.stmt, options: dict[str, str | None]) -> bool:
    """Whether it is ``if args.save:`` for an option that is not given."""
    if not isinstance(statement, ast.If):
        return False
    asked = re.findall(r"\bargs\.(\w+)", ast.unparse(statement.test))
    return bool(asked) and all(options.get(name) is None for name in asked)


def _calls(statement: ast.stmt) -> set[str]:
    """Names of the functions that a statement calls."""
    return {
        node.func.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _evaluation(statements: Sequence[ast.stmt], tree: ast.Module) -> str:
    """The call of ``evaluate`` on the test set, where ``main`` has none of its own."""
    defined = {s.name for s in tree.body if isinstance(s, ast.FunctionDef)}
    called = {name for s in statements for name in _calls(s)}
    targets = {
        name: _targets(s) for s in statements for name in _calls(s) if _targets(s)
    }
    if "evaluate" not in defined or "evaluate" in called:
        return ""
    if not targets.get("build") or not targets.get("load_data"):
        return ""
    data = targets["load_data"]
    test = data[-1] if data[-1].startswith("*") else ", ".join(data[-2:])
    return f"evaluate({targets['build'][0]}, {test})"


def _targets(statement: ast.stmt) -> list[str]:
    """The names that an assignment sets, in order."""
    if not isinstance(statement, ast.Assign):
        return []
    target = statement.targets[0]
    elements = target.elts if isinstance(target, ast.Tuple) else [target]
    return [ast.unparse(element) for element in elements]
