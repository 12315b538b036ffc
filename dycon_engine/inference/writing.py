"""Writing all results of one scan, each complete or absent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dycon_engine import __version__
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.inference.inputs import Targets
from dycon_engine.inference.result import Prediction
from dycon_engine.jobs.files import write_json, write_text
from dycon_engine.package import Package


def write_results(
    where: Targets,
    prediction: Prediction,
    content: dict[str, Any],
    page: Callable[[], str],
    *,
    package: Package,
    overwrite: bool,
) -> Iterator[Path]:
    """Write everything asked for and yield each file once it is complete.

    The label map comes last, so that where it is all the rest is; but for the probabilities, which
    are so large that they may not fit onto the disk: the label map is there by then.

    Args:
        where: The files.
        prediction: What they hold.
        content: The report.
        page: Returns the report as HTML; called where it is asked for.
        package: Named in the files.
        overwrite: Whether a file may be replaced.
    """
    for path in where.all():
        path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "geometry": prediction.geometry,
        "overwrite": overwrite,
        "metadata": {
            "DyCON_notice": package.info.notice,
            "DyCON_engine": __version__,
            "DyCON_package_sha256": package.sha256,
        },
    }
    scalar: Callable[..., None] = functools.partial(write_scalar, **options)
    label: Callable[..., None] = functools.partial(write_label, **options)
    segments = [(item.value, item.name, item.color) for item in package.info.labels[1:]]
    steps: tuple[tuple[Path | None, Callable[[Path], None]], ...] = (
        (where.uncertainty, lambda path: scalar(path, prediction.uncertainty)),
        (where.regions, lambda path: label(path, prediction.region_map)),
        (where.report, lambda path: write_json(path, content)),
        (where.report_html, lambda path: write_text(path, page())),
        (where.labels, lambda path: label(path, prediction.labels, segments=segments)),
        (where.probabilities, lambda path: scalar(path, prediction.probabilities)),
    )
    for target, write in steps:
        if target is not None:
            write(target)
            yield target
