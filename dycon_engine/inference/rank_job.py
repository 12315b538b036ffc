"""Ranking the scans of a folder and writing the order down."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Case, read_case_image, read_grid
from dycon_engine.data.geometry import Spacing
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import CancelledError, DyconError, InputError
from dycon_engine.inference.inputs import require_spacing
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.progress import READING, CaseProgress
from dycon_engine.inference.ranking import Impression, Ranked, impression, rank
from dycon_engine.inference.sliding_window import SEGMENTING
from dycon_engine.jobs import cells
from dycon_engine.jobs.events import CaseDone, Saved
from dycon_engine.jobs.files import make_folder, require_place, write_bytes, write_json, write_text
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.networks.devices import device_name, take_device
from dycon_engine.package import load_package

CSV, JSON = ".csv", ".json"
SCHEMA_VERSION = 1
_PICTURE = re.compile(r"\d{3,}\.png")  # as `_pictures` names them
RANK_SHARES = {READING: 0.1, SEGMENTING: 0.9}


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """What `rank` was asked to do; as in its help."""

    package: Path
    data: Path
    output: Path
    thumbnails: Path | None = None
    all_cases: bool = False
    spacing_mm: Spacing | None = None
    device: str = "auto"
    overwrite: bool = False


def rank_all(request: RankRequest, reporter: Reporter) -> dict[str, Any]:
    """Rank the unlabeled cases, write the order and return the summary.

    Raises:
        InputError: The package, the data or the output is not usable.
        DyconError: A case could not be read or segmented; the others are ranked and written. Where
            no case could, nothing is written and nothing of an earlier ranking is touched.
    """
    files = _files(request)
    package = load_package(request.package)
    device = take_device(request.device, functools.partial(reporter.warn, "device"))
    reporter.computes_on(str(device), device_name(device))
    predictor = Predictor(package, device)
    data = DataConfig(spacing_mm=request.spacing_mm)
    found = find_cases(request.data, data).cases
    reporter.hide(case.name for case in found)
    cases = [case for case in found if request.all_cases or case.label is None]
    if not cases:
        raise InputError(
            f"data '{request.data}': all {len(found)} cases have a label; add --all to rank them"
        )
    require_spacing(cases, request.spacing_mm)
    impressions, failed = _impressions(
        cases, predictor, reporter, data, thumbnails=request.thumbnails is not None
    )
    ranked = rank(impressions)
    if ranked:
        pictures = _pictures(request, ranked, impressions)
        _write(files, ranked, pictures, package.sha256)
        _remove_old(request.thumbnails, keep=set(pictures.values()))
        for path in files:
            reporter.emit(Saved(what="ranking", path=path.name))
    if failed:
        raise DyconError(f"{len(failed)} of {len(cases)} cases failed: {', '.join(failed)}")
    return {"cases": len(ranked), "next": [item.name for item in ranked[:5]]}


def _impressions(
    cases: Sequence[Case],
    predictor: Predictor,
    reporter: Reporter,
    data: DataConfig,
    *,
    thumbnails: bool,
) -> tuple[list[Impression], list[str]]:
    impressions: list[Impression] = []
    failed: list[str] = []
    for item, case in enumerate(cases, start=1):
        progress = CaseProgress(reporter, item, len(cases), RANK_SHARES)
        try:
            progress.begin(READING)
            predictor.check_memory(read_grid(case.images[0], data), f"case '{case.name}'")
            image = read_case_image(case, data)
            watch = progress.watch()
            impressions.append(
                impression(case.name, image, predictor, watch=watch, thumbnail=thumbnails)
            )
            for flag in impressions[-1].flags:
                reporter.warn(flag.topic, f"case '{case.name}': {flag.message}")
            reporter.emit(CaseDone(case=case.name))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one scan never stops those after it
            failed.append(case.name)
            reporter.case_failed(case.name, error)
    return impressions, failed


def _files(request: RankRequest) -> tuple[Path, ...]:
    suffix = request.output.suffix.lower()
    if suffix and suffix not in (CSV, JSON):
        raise InputError(f"output '{request.output}': expected .csv, .json or a folder")
    files: tuple[Path, ...] = (request.output,)
    if not suffix:
        files = (request.output / "label_next.csv", request.output / "label_next.json")
    for path in files:
        if path.exists() and not request.overwrite:
            raise InputError(f"output '{path}': already there; choose another or --overwrite")
        require_place(path)
    if request.thumbnails is not None:
        _check_room(request.thumbnails, overwrite=request.overwrite)
    return files


def _check_room(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot take the pictures; nothing is made or removed yet."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"thumbnails '{folder}': is a file, expected a folder; choose another")
    old = _old_pictures(folder)
    if old and not overwrite:
        raise InputError(f"thumbnails '{old[0]}': already there; choose another or --overwrite")
    require_place(folder)


def _old_pictures(folder: Path) -> list[Path]:
    """Return the pictures of an earlier ranking, by exactly the names that one gives."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PICTURE.fullmatch(path.name))


def _remove_old(folder: Path | None, *, keep: set[str]) -> None:
    """Remove the pictures of an earlier, longer ranking; all others of that are replaced by now."""
    if folder is not None:
        for path in _old_pictures(folder):
            if path.name not in keep:
                path.unlink()


def _pictures(
    request: RankRequest, ranked: Sequence[Ranked], impressions: Sequence[Impression]
) -> dict[str, str]:
    """Write a picture per case, named by its rank; return the file names by case name."""
    if request.thumbnails is None:
        return {}
    make_folder(request.thumbnails)
    contents = {item.name: item.thumbnail for item in impressions}
    names = {item.name: f"{item.rank:03d}.png" for item in ranked}
    for name, file_name in names.items():
        write_bytes(request.thumbnails / file_name, contents[name])
    return names


def _write(
    files: Sequence[Path],
    ranked: Sequence[Ranked],
    pictures: Mapping[str, str],
    package_sha256: str,
) -> None:
    rows = [item._asdict() | {"thumbnail": pictures.get(item.name, "")} for item in ranked]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == JSON:
            head = {"schema_version": SCHEMA_VERSION, "package_sha256": package_sha256}
            write_json(path, head | {"label_next": rows})
            continue
        text = io.StringIO()
        writer = csv.DictWriter(
            text, fieldnames=[*Ranked._fields, "thumbnail"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(map(cells.row, rows))
        write_text(path, text.getvalue())
