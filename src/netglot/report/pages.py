"""Pages that stand alone: style and pictures are inside them."""

from __future__ import annotations

from typing import Any


def render(template: str, **values: Any) -> str:
    """A page from a file in ``templates/``; a value that is not given is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("netglot.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)
