"""A self-contained HTML page: no network, no other file, light and dark, fit to print."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTICE = (
    "Research use only; not a medical device. Not for diagnosis or treatment planning. "
    "Check every segmentation."
)


def render(template: Path, values: Mapping[str, Any]) -> str:
    """Return the page of a Jinja `template` that extends `page.html`; every value is escaped.

    Templates may call `base64` (bytes to text) and `count` (a number with its noun).
    """
    import jinja2  # noqa: PLC0415 - only a report needs it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals.update(base64=_base64, count=count)
    return environment.get_template(template.name).render(**values)


def count(number: int, noun: str) -> str:
    """Return e.g. "3 cases"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
