"""Finding the cases of a folder, however it is organised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dycon_engine.config import DataConfig, known
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.listing import list_scans
from dycon_engine.errors import InputError


def find_cases(root: Path, config: DataConfig) -> Dataset:
    """Return the cases in `root`, a folder or a manifest file.

    Raises:
        InputError: Nothing is there, or no layout fits; the sentence says what was looked for.
    """
    if not root.exists():
        raise InputError(f"data '{root}': there is no such folder or file; check the path")
    name = config.layout if config.layout != "auto" else _detected(root)
    dataset = LAYOUTS[known(name, LAYOUTS, "layout")](root)
    if not dataset.cases:
        raise InputError(
            f"data '{root}': organised as {name}, but no readable scan is in it; expected "
            f"{EXPECTED[name]}"
        )
    return dataset


def find_pairs(root: Path) -> Dataset:
    """Return the cases of images/ and labels/ with the same stem; without label: unlabeled.

    Where there is no images/ folder, the scans lie in `root` itself and none has a label.
    """
    images = list_scans(root / "images" if (root / "images").is_dir() else root)
    has_labels = (root / "images").is_dir() and (root / "labels").is_dir()
    labels = list_scans(root / "labels") if has_labels else None
    problems = list(images.problems)
    found = {} if labels is None else labels.files
    problems += () if labels is None else labels.problems
    cases = tuple(Case(name, (path,), found.get(name)) for name, path in images.files.items())
    lost = sorted(set(found) - set(images.files))
    notes = [f"label '{name}': no scan of that name in 'images'; it is not used" for name in lost]
    if lost and len(lost) == len(found):
        problems.append(
            f"data '{root}': no label has the name of a scan, e.g. label '{lost[0]}' and scan "
            f"'{cases[0].name if cases else '-'}'; give both the same file name"
        )
    return Dataset(root, "pairs", cases, problems=tuple(problems), notes=tuple(notes))


def _detected(root: Path) -> str:
    for name, fits in FITS.items():
        if fits(root):
            return name
    looked_for = "; ".join(f"{name}: {EXPECTED[name]}" for name in EXPECTED)
    raise InputError(f"data '{root}': no known layout; looked for {looked_for}")


def _is_pairs(root: Path) -> bool:
    return root.is_dir() and ((root / "images").is_dir() or bool(list_scans(root).files))


LAYOUTS: dict[str, Callable[[Path], Dataset]] = {"pairs": find_pairs}
FITS: dict[str, Callable[[Path], bool]] = {"pairs": _is_pairs}
EXPECTED: dict[str, str] = {"pairs": "folders images and labels with equal file names"}
