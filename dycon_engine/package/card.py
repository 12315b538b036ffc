"""The package's README: what the model is, in plain words, from what `model.json` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dycon_engine.data.seen import PERCENTILES, Range, Seen
from dycon_engine.networks.composing import Composition
from dycon_engine.package.evidence import CaseFigures, Evidence, Stress, Trust
from dycon_engine.package.info import Calibration, PackageInfo

LIMITS = """\
- Trained on few labeled scans; expect errors on anatomy, disease or scanners it has not seen.
- Scans outside the ranges above are segmented all the same; the report then carries a flag.
- The uncertainty map shows where the model hesitates, not every place where it is wrong."""


def card(info: PackageInfo) -> str:
    """Return the model card as Markdown."""
    names = [label.name for label in info.labels[1:]]
    spacing = " x ".join(f"{mm:g}" for mm in info.preprocessing.spacing_mm)
    patch = " x ".join(str(n) for n in info.patch_size)
    sections = (
        ("Segmentation model", f"Segments: {', '.join(names)}.\n\n**{info.notice}**"),
        ("Labels", _labels(info)),
        (
            "Input",
            (
                f"- channels: {', '.join(info.channels)}\n"
                f"- intensities: {info.preprocessing.normalization}\n"
                f"- network's grid (z, y, x): {spacing} mm, window {patch} voxels"
            ),
        ),
        ("Network", "\n".join(_lines(_network(info)))),
        ("Training and validation", "\n".join(_training(info.training)) or "- not stated"),
        *_validation(info.evidence),
        ("Calibration", _calibration(info.calibration)),
        ("Scans seen in training", "- not known" if info.seen is None else _seen(info.seen, names)),
        *_robustness(info.evidence),
        ("Limits", "\n".join((LIMITS, *(f"- {limit}" for limit in info.evidence.limits)))),
        ("License", info.license),
        *_source(info.evidence),
    )
    text = "".join(f"## {title}\n\n{body}\n\n" for title, body in sections)
    return f"{text[1:].rstrip()}\n\nWritten by dycon_engine {info.engine_version}.\n"


def _network(info: PackageInfo) -> dict[str, Any]:
    """Return the network's settings, and what is made of such networks where more than one is."""
    composed = info.composition != Composition()
    return vars(info.network) | ({"composition": vars(info.composition)} if composed else {})


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line each, but one for all settings of the method, under their own names."""
    settings = training.get("settings")
    told = isinstance(settings, Mapping) and bool(settings)
    yield from _lines({k: v for k, v in training.items() if k != "settings" or not told})
    if told:
        items = (f"{name} = {_value(value)}" for name, value in dict(settings or {}).items())
        yield f"- settings of the method: {', '.join(items)}"


def _labels(info: PackageInfo) -> str:
    rows = "\n".join(
        f"| {label.value} | {label.name} | {label.terminology} |" for label in info.labels
    )
    return f"| value | name | term |\n|---|---|---|\n{rows}"


def _calibration(calibration: Calibration) -> str:
    lines = [f"- temperature: {calibration.temperature:.3g}"]
    if calibration.ece_before is not None and calibration.ece_after is not None:
        lines.append(
            f"- expected calibration error: {calibration.ece_before:.4f} before, "
            f"{calibration.ece_after:.4f} after"
        )
    else:
        lines.append("- not measured: take probabilities and uncertainty as relative only")
    return "\n".join(lines)


def _validation(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.cases:
        rows = (f"| {number} | {_row(case)} |" for number, case in enumerate(evidence.cases, 1))
        means = CaseFigures(*(_mean([case[i] for case in evidence.cases]) for i in range(3)))
        head = "| case | Dice | HD95 [mm] | ASD [mm] |\n|---|---|---|---|"
        yield "Validation, case by case", "\n".join((head, *rows, f"| mean | {_row(means)} |"))
    if evidence.trust is not None:
        yield "What the uncertainty is worth", _trust(evidence.trust)


def _row(case: CaseFigures) -> str:
    return f"{case.dice:.4f} | {_figure(case.hd95_mm, 2)} | {_figure(case.asd_mm, 2)}"


def _trust(trust: Trust) -> str:
    return (
        f"- expected calibration error over all voxels: {trust.ece_all:.4f}\n"
        f"- within {trust.band_mm:g} mm of the reference's surface: {trust.ece_near:.4f}\n"
        f"- wrong voxels among the {trust.captured_in:.0%} most uncertain ones of their scan: "
        f"{trust.errors_captured:.0%}"
    )


def _robustness(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.robustness:
        head = (
            "Means over changed validation scans, of HD95 over those where it is defined. "
            "ECE: near the reference's surface; flagged: "
            "share of scans whose report asks for a review.\n\n"
            "| change | | scans | Dice | HD95 [mm] | ECE | flagged |\n|---|---|---|---|---|---|---|"
        )
        yield "Changed scans", "\n".join((head, *map(_stress, evidence.robustness)))


def _stress(row: Stress) -> str:
    figures = (_figure(row.dice, 3), _figure(row.hd95_mm, 1), _figure(row.ece, 3))
    cells = (row.group, row.change, str(row.cases), *figures, f"{row.flagged:.0%}")
    return f"| {' | '.join(cells)} |"


def _source(evidence: Evidence) -> Iterator[tuple[str, str]]:
    lines = [f"- {text}" for text in evidence.source]
    if evidence.reproduce:
        lines.append(f"- trained by: `{evidence.reproduce}`")
    if evidence.page:
        lines.append(f"- more, with pictures of failures: {evidence.page}")
    if lines:
        yield "Source", "\n".join(lines)


def _mean(values: Sequence[float | None]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _seen(seen: Seen, names: Sequence[str]) -> str:
    spacing = ", ".join(_range(pair) for pair in seen.spacing_mm)
    size = ", ".join(_range(pair) for pair in seen.size_mm)
    lines = [f"- scans: {seen.cases}", f"- spacing (z, y, x): {spacing} mm"]
    lines.append(f"- field of view (z, y, x): {size} mm")
    for index, channel in enumerate(seen.percentiles):
        parts = (f"{p:g} %: {_range(pair)}" for p, pair in zip(PERCENTILES, channel, strict=True))
        lines.append(f"- intensity percentiles of channel {index}: {', '.join(parts)}")
    lines += [f"- texture of channel {i}: {_range(pair)}" for i, pair in enumerate(seen.texture)]
    if seen.volumes_ml:
        sizes = zip(names, seen.volumes_ml, strict=True)
        lines += [f"- volume of {name}: {_range(pair)} ml" for name, pair in sizes]
    return "\n".join(lines)


def _range(pair: Range) -> str:
    return f"{pair.low:.4g} to {pair.high:.4g}"


def _lines(table: Mapping[str, Any], lead: str = "") -> Iterator[str]:
    for name, value in table.items():
        words = f"{lead}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _lines(value, f"{words}: ")
        else:
            yield f"- {words}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    return "none" if value in ("", None) else str(value)
