"""Source with its syntax in colour, as HTML that carries its own style."""

from __future__ import annotations

from typing import Any

#: Styles of Pygments for light and dark paper.
LIGHT, DARK = "default", "github-dark"


def highlighted(source: str, language: str = "python") -> str:
    """A source as HTML spans, without a surrounding element."""
    from pygments import highlight
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language, stripnl=False)
    return str(highlight(source, lexer, _formatter(LIGHT)))


def style(selector: str = "pre") -> str:
    """The CSS of ``highlighted`` inside a selector, light and dark."""
    light, dark = (
        _formatter(name).get_style_defs(selector).split("\n") for name in (LIGHT, DARK)
    )

    def rules(lines: list[str]) -> str:
        # Rules of the page's own elements and comments are left out.
        kept = [line for line in lines if line.startswith(f"{selector} .")]
        return "\n".join(line.split("/*")[0].rstrip() for line in kept)

    return (
        rules(light)
        + "\n@media (prefers-color-scheme: dark) {\n"
        + f"{selector} span {{ color: inherit; }}\n"
        + rules(dark)
        + "\n}"
    )


def _formatter(name: str) -> Any:
    from pygments.formatters.html import HtmlFormatter

    return HtmlFormatter(style=name, nowrap=True)
