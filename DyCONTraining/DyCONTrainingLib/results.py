"""What a finished run achieved: figures per held-out case, against supervised-only training."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import write_text
from DyCONLib.models import Model, import_model
from DyCONTrainingLib.run_card import LAST

PUBLISHED = "published.txt"
SUPERVISED = "supervised"
UNSCORED = (
    "No held-out cases: the model is not scored and not calibrated. Give some labeled cases the "
    "role held-out to see how good it is."
)


class Score(NamedTuple):
    """One structure in one held-out case, by its name in the data set; None = not defined."""

    case: str
    structure: str
    dice: float | None
    hd95_mm: float | None


@dataclass(frozen=True)
class Report:
    """The figures of a run.

    Attributes:
        run: Its name.
        method: Training recipe.
        scores: Per case and structure.
        dice: Mean over cases and structures.
        ece_before: Calibration error as trained, None where it was not measured.
        ece_after: The same after calibration.
        temperature: That calibration found.
        labeled: Cases trained on with labels.
        unlabeled: Cases trained on without.
        split: Hash of who was in which role.
    """

    run: str
    method: str
    scores: tuple[Score, ...] = ()
    dice: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None
    temperature: float = 1.0
    labeled: int = 0
    unlabeled: int = 0
    split: str = ""

    @property
    def undefined(self) -> int:
        """Return for how many scores there is no surface distance."""
        return sum(score.hd95_mm is None for score in self.scores)


def read_report(run_dir: Path) -> Report | None:
    """Return the figures of a run; without scores where it had no held-out cases.

    None where the run is not finished or its description is damaged.
    """
    config = _table(run_dir / "config.json")
    data = config.get("data")
    if not isinstance(data, dict) or not (run_dir / LAST).is_file():
        return None
    cases = data.get("cases", {})
    validation = _table(run_dir / "report" / "validation.json")
    calibration = validation.get("calibration", {})
    return Report(
        run=run_dir.name,
        method=str(config.get("config", {}).get("method", {}).get("name", "")),
        scores=tuple(_scores(validation.get("cases", ()), _held_out(run_dir))),
        dice=validation.get("dice"),
        ece_before=calibration.get("ece_before"),
        ece_after=calibration.get("ece_after"),
        temperature=float(calibration.get("temperature") or 1.0),
        labeled=int(cases.get("labeled", 0)),
        unlabeled=int(cases.get("unlabeled", 0)),
        split=str(data.get("split_sha256", "")),
    )


def summary_text(report: Report) -> str:
    """Return the figures in a few lines of words."""
    lines = [f"Trained on {report.labeled} labeled and {report.unlabeled} unlabeled scans."]
    if report.dice is None:
        return f"{lines[0]}\n{UNSCORED}"
    distances = [score.hd95_mm for score in report.scores if score.hd95_mm is not None]
    number = len({score.case for score in report.scores})
    line = f"Dice {report.dice:.3f} on {number} held-out case{'s' if number > 1 else ''}"
    if distances:
        line += f", HD95 {statistics.fmean(distances):.1f} mm"
    if report.undefined:
        line += f" ({report.undefined} without: nothing found, or nothing there)"
    lines.append(line + ".")
    if report.ece_before is not None and report.ece_after is not None:
        lines.append(
            f"Calibration error near boundaries {100 * report.ece_before:.1f} % as trained, "
            f"{100 * report.ece_after:.1f} % after calibration."
        )
    return "\n".join(lines)


def compared(report: Report, other: Report) -> str:
    """Return what unlabeled scans gave: `report` against supervised-only `other`, in words."""
    if not report.split or report.split != other.split:
        return f"'{other.run}' was not trained on the same split; no comparison."
    pairs = _paired(report, other)
    if not pairs:
        return "No held-out cases: nothing to compare."
    gain = statistics.fmean(one - two for one, two in pairs)
    better = sum(one > two for one, two in pairs)
    own, base = (statistics.fmean(values) for values in zip(*pairs, strict=True))
    word = "gain" if gain >= 0 else "loss"
    return (
        f"With unlabeled scans Dice {own:.3f}, supervised only {base:.3f} on the same split and "
        f"steps: a {word} of {abs(gain):.3f}, better in {better} of {len(pairs)} cases."
    )


def publish(run_dir: Path, models: Path, name: str) -> Model:
    """Copy the run's model to the models that DyCONSegmentation offers; once.

    Raises:
        InputError: There is no model yet, or another one of this name.
        DyconError: It cannot be copied.
    """
    package = run_dir / LAST
    if not package.is_file():
        raise InputError(f"run '{run_dir.name}': has no model yet; let it finish")
    try:
        with tempfile.TemporaryDirectory(prefix="dycon-") as folder:
            named = Path(folder) / f"{name}.dycon"
            shutil.copyfile(package, named)
            model = import_model(named, models)
    except OSError as error:
        raise DyconError(f"model '{name}': cannot be copied ({error.strerror})") from error
    write_text(run_dir / PUBLISHED, f"{model.path.name}\n")
    return model


def is_published(run_dir: Path) -> bool:
    """Return whether the run's model was handed to DyCONSegmentation before."""
    return (run_dir / PUBLISHED).is_file()


def published_name(run_dir: Path) -> str:
    """Return under which name the run's model was handed over, "" where it was not."""
    try:
        return (run_dir / PUBLISHED).read_text(encoding="utf-8").strip().removesuffix(".dycon")
    except OSError:
        return ""


def model_name(structures: Sequence[str], run: str, taken: Sequence[str]) -> str:
    """Return a free file name for a model: what it segments and which run made it."""
    words = "-".join(structures[:2]) or "model"
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in words.lower())[:60]
    name, number = f"{plain}-{run}", 2
    while name in taken:
        name, number = f"{plain}-{run}-{number}", number + 1
    return name


def _paired(report: Report, other: Report) -> list[tuple[float, float]]:
    """Return the mean Dice per case of both."""
    one, two = _per_case(report), _per_case(other)
    return [(one[case], two[case]) for case in one if case in two]


def _per_case(report: Report) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for score in report.scores:
        if score.dice is not None:
            found.setdefault(score.case, []).append(score.dice)
    return {case: statistics.fmean(values) for case, values in found.items()}


def _scores(cases: Sequence[Mapping[str, Any]], aliases: Sequence[str]) -> list[Score]:
    names = aliases if len(aliases) == len(cases) else [str(case["case"]) for case in cases]
    return [
        Score(name, structure, _number(table.get("dice")), _number(table.get("hd95_mm")))
        for name, case in zip(names, cases, strict=True)
        for structure, table in case["classes"].items()
    ]


def _held_out(run_dir: Path) -> list[str]:
    """Return the held-out cases of a run in the order of its report, which names none."""
    names = _table(run_dir / "split.json").get("validation", ())
    return [str(name) for name in names]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
