"""The reports of a result that a person corrected: the model's figures beside those of now."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from DyCONSegmentationLib.measuring import Measured
from DyCONSegmentationLib.results import Result

_START = (re.compile(r"<main\b[^>]*>"), re.compile(r"<body\b[^>]*>"))
_NOTICE = (
    "The segmentation was corrected after this page was made. Volumes, ranges, pictures and "
    "regions below are those that the model drew."
)


def programs_report(result: Result, structures: Sequence[Measured]) -> dict[str, Any]:
    """Return the report as plain JSON values, with the volumes of now and all decisions.

    An entry of `volumes` that a person changed holds `name`, `voxels` and `volume_ml` as they are
    now (None where the segment was removed) and the whole entry of before under `model` (None where
    the model did not draw it); `corrected` says which ones these are.
    """
    content = result.report.content
    entries = {str(entry["name"]): entry for entry in content["volumes"]}
    marks = {region.rank: result.review.mark_of(region).value for region in result.review.regions}
    return content | {
        "volumes": [_entry(each, entries) for each in structures],
        "corrected": any(each.is_corrected for each in structures),
        "reviewed": marks,
    }


def _entry(now: Measured, entries: dict[str, Any]) -> dict[str, Any]:
    before = entries[now.drawn.name] if now.drawn is not None else None
    if before is not None and not now.is_corrected:
        renamed = {"model": before} if now.name != before["name"] else {}
        return {**before, "name": now.name, "corrected": False, **renamed}
    figures = {"name": now.name, "voxels": now.voxels, "volume_ml": now.ml}
    return {**figures, "corrected": True, "model": before}


def people_page(page: str, structures: Sequence[Measured]) -> str:
    """Return the page with the volumes of now above all else; as it is where nothing differs."""
    changed = [each for each in structures if each.is_corrected]
    if not changed:
        return page
    rows = "".join(_row(each) for each in changed)
    words = (
        '<section aria-labelledby="corrected"><h2 id="corrected">Corrected</h2>'
        f'<p class="warning">{_NOTICE}</p><div class="scroll"><table><thead><tr>'
        '<th class="text" scope="col">Structure</th><th scope="col">Volume now [ml]</th>'
        '<th scope="col">The model drew [ml]</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )
    found = next(filter(None, (pattern.search(page) for pattern in _START)), None)
    at = found.end() if found is not None else 0
    return f"{page[:at]}\n{words}\n{page[at:]}"


def _row(now: Measured) -> str:
    current = "removed" if not now.is_there else "–" if now.ml is None else f"{now.ml:.2f}"
    before = "–" if now.drawn is None else f"{now.drawn.ml:.2f}"
    name = html.escape(now.name)
    return f'<tr><th class="text" scope="row">{name}</th><td>{current}</td><td>{before}</td></tr>'
