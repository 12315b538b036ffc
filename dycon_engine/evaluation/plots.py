"""Plots of an evaluation as inline SVG that follows the page's light or dark text color."""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dycon_engine.evaluation.summaries import METRICS, PredictionSet

INK = "#010203"  # replaced by the page's text color
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one more than colors: no pair comes twice soon
TICK_LETTERS = 13  # of a line under a box
LEGEND_COLUMNS = 3
FEWEST_VOXELS = 10  # a reliability bin with fewer is not drawn
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
}


def draw_strips(metric: str, sets: Sequence[PredictionSet], names: dict[int, str]) -> str:
    """Return an SVG with one dot per case and a box per class and prediction set.

    Undefined values cannot be drawn; their number stands above the box. The cases of two sets are
    joined by thin lines. With one class the sets' names stand below their boxes.
    """
    with _styled(f"strips-{metric}"):
        figure, axis = _figure((max(3.2, 1.6 + 0.85 * len(sets) * len(names)), 3.4))
        _draw_strips(axis, metric, sets, names)
        return _svg(figure, f"{METRICS[metric]} of every case, per class and prediction set")


def _draw_strips(
    axis: Any, metric: str, sets: Sequence[PredictionSet], names: dict[int, str]
) -> None:
    ticks, columns = [], list[float]()
    for group, label in enumerate(names):
        columns = [group * (len(sets) + 0.7) + index for index in range(len(sets))]
        ticks.append(float(np.mean(columns)))
        values = [np.array(s.values(metric, label)) for s in sets]
        spread = np.random.default_rng(0).uniform(-0.16, 0.16, max(map(len, values)))
        if len({len(v) for v in values}) == 1 and len(sets) > 1:
            for case in range(len(values[0])):
                across = [c + spread[case] for c in columns]
                axis.plot(across, [v[case] for v in values], color=INK, alpha=0.18, linewidth=0.8)
        for index, (column, found) in enumerate(zip(columns, values, strict=True)):
            _strip(axis, column, found, index=index, spread=spread)
    direct = len(names) == 1 and len(sets) > 1
    if direct:
        axis.set_xticks(columns, [textwrap.fill(s.name, TICK_LETTERS) for s in sets], fontsize=9)
        axis.set_xlabel(next(iter(names.values())))
    else:
        axis.set_xticks(ticks, names.values())
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel(METRICS[metric])
    if metric == "dice":
        axis.set_ylim(top=1.0)
    axis.margins(y=0.12)
    axis.set_xlim(-0.7, columns[-1] + 0.7)  # also where a column holds nothing to draw
    axis.grid(axis="y", alpha=0.25, linewidth=0.6)
    if len(sets) > 1 and not direct:
        for index, predictions in enumerate(sets):
            color, marker = _look(index)
            axis.plot([], [], marker, color=color, label=predictions.name)
        columns_of_legend = min(len(sets), LEGEND_COLUMNS)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns_of_legend)


def _look(index: int) -> tuple[str, str]:
    """Return color and marker of a prediction set."""
    return COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]


def draw_reliability(sets: Sequence[PredictionSet]) -> str:
    """Return an SVG with the reliability curves of all sets that have probabilities."""
    with _styled("reliability"):
        figure, axis = _figure((4.8, 4.6))
        _draw_reliability(axis, sets)
        return _svg(figure, "Reliability: share of right voxels against stated confidence")


def _draw_reliability(axis: Any, sets: Sequence[PredictionSet]) -> None:
    axis.plot([0, 1], [0, 1], color=INK, alpha=0.5, linestyle="dotted", label="perfect")
    for index, predictions in enumerate(sets):
        if predictions.calibration is None:
            continue
        for curve, style, where in (
            (predictions.calibration.everywhere, "dashed", "all voxels"),
            (predictions.calibration.boundary, "solid", "near boundaries"),
        ):
            drawn = curve.voxels >= FEWEST_VOXELS
            axis.plot(
                curve.confidence[drawn], curve.accuracy[drawn], linestyle=style,
                color=_look(index)[0], marker=_look(index)[1], markersize=4,
                label=f"{predictions.name}, {where}",
            )  # fmt: skip
    axis.set(xlabel="confidence stated (largest probability)", ylabel="share of voxels right")
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=9)


def draw_risk_coverage(sets: Sequence[PredictionSet]) -> str:
    """Return an SVG with the risk-coverage curves of all sets that have probabilities."""
    with _styled("risk-coverage"):
        figure, axis = _figure((4.8, 4.6))
        _draw_risk_coverage(axis, sets)
        return _svg(figure, "Risk-coverage: error rate when only the surest voxels are kept")


def _draw_risk_coverage(axis: Any, sets: Sequence[PredictionSet]) -> None:
    for index, predictions in enumerate(sets):
        if predictions.calibration is not None:
            risk = predictions.calibration.risk
            axis.plot(
                100 * risk.coverage, 100 * risk.risk, color=_look(index)[0],
                label=f"{predictions.name} (AURC {risk.aurc:.3f})",
            )  # fmt: skip
    axis.set(xlabel="surest voxels kept [%]", ylabel="wrong among the kept [%]", xlim=(0, 100))
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=9)


@contextlib.contextmanager
def _styled(salt: str) -> Iterator[None]:
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        yield


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _strip(axis: Any, column: float, values: Any, *, index: int, spread: Any) -> None:
    defined = values[~np.isnan(values)]
    color, marker = _look(index)
    if defined.size:
        line = {"color": color, "linewidth": 1.3}
        axis.boxplot(
            [defined], positions=[column], widths=0.62, showfliers=False, manage_ticks=False,
            boxprops=line, whiskerprops=line, capprops=line, medianprops=line | {"linewidth": 2.4},
        )  # fmt: skip
    axis.plot(
        column + spread[: len(values)], values, marker,
        color=color, markersize=4.5, alpha=0.75, markeredgewidth=0,
    )  # fmt: skip
    missing = int(values.size - defined.size)
    if missing:
        axis.text(
            column, 0.99, f"{missing} undefined", transform=axis.get_xaxis_transform(),
            ha="center", va="top", fontsize=8, color=INK,
        )  # fmt: skip


def _svg(figure: Any, alt: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
