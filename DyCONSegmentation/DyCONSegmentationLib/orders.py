"""What a person asked for, checked, and the engine's command line that does it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.errors import InputError
from DyCONLib import mrml
from DyCONLib.models import Model
from DyCONSegmentationLib.parameters import DEFAULTS, Parameters
from DyCONSegmentationLib.results import Files

CASE = "scan"  # what the engine calls the scan of an order
SUFFIX = ".nrrd"  # keeps the grid in double precision; without compression it is written at once


class Order(NamedTuple):
    """One scan to segment: its volumes, one per channel, and with what."""

    volumes: tuple[Any, ...]
    model: Model
    parameters: Parameters


def problem(volumes: Sequence[Any], model: Model | None) -> str:
    """Return what keeps these volumes from being segmented, as what to do; '' where nothing.

    Args:
        volumes: A node or None per channel; missing ones count as None.
        model: The package, None where none is chosen.
    """
    if model is None:
        return "Choose a model."
    count = len(model.channels)
    chosen = (*volumes, *[None] * count)[:count]
    for channel, volume in zip(model.channels, chosen, strict=True):
        if volume is None:
            return "Choose a volume." if count == 1 else f"Choose a volume for '{channel.name}'."
    found = next(filter(None, map(_unusable, chosen)), "")
    if not found and len({volume.GetID() for volume in chosen}) < count:
        found = "The same volume is chosen for two channels; choose one volume for each."
    return found or apart(chosen)


def _unusable(volume: Any) -> str:
    image = volume.GetImageData()
    if image is None or 0 in image.GetDimensions():
        return f"Volume '{volume.GetName()}' is empty; choose another one."
    if image.GetNumberOfScalarComponents() != 1:
        return f"Volume '{volume.GetName()}' has colors; choose one of plain intensities."
    return ""


def apart(volumes: Sequence[Any]) -> str:
    """Return what to do where the volumes do not all lie on the grid of the first; '' else."""
    first = volumes[0]
    for volume in volumes[1:]:
        if not mrml.same_grid(volume, first):
            return (
                f"Volume '{volume.GetName()}' lies on another grid than '{first.GetName()}'; "
                "resample it (module Resample Scalar Volume)."
            )
    return ""


def possible(wanted: Parameters, model: Model | None) -> Parameters:
    """Return `wanted` with the standard uncertainty where `model` cannot give the kind chosen."""
    if model is None or wanted.uncertainty_kind not in model.refused_kinds:
        return wanted
    return dataclasses.replace(wanted, uncertainty_kind=DEFAULTS.uncertainty_kind)


def export_inputs(order: Order, folder: Path) -> tuple[Path, ...]:
    """Write the volumes of `order` to `folder`, under names that tell nothing; return the files.

    Raises:
        DyconError: A volume cannot be written.
    """
    paths = tuple(folder / f"{CASE}_{index:04d}{SUFFIX}" for index in range(len(order.volumes)))
    for volume, path in zip(order.volumes, paths, strict=True):
        mrml.export_volume(volume, path)
    return paths


def in_scene_words(sentence: str, order: Order, folder: Path) -> str:
    """Return what the engine said of its files with the names that the person knows."""
    for index, volume in enumerate(order.volumes):
        sentence = sentence.replace(str(folder / f"{CASE}_{index:04d}{SUFFIX}"), volume.GetName())
    return sentence.replace(f"case '{CASE}'", f"'{order.volumes[0].GetName()}'")


def result_files(folder: Path, parameters: Parameters) -> Files:
    """Return where the engine shall write the results of one scan."""
    return Files(
        labels=folder / f"labels{SUFFIX}",
        report=folder / "report.json",
        uncertainty=folder / f"uncertainty{SUFFIX}",
        probabilities=folder / f"probabilities{SUFFIX}" if parameters.keep_probabilities else None,
        report_html=folder / "report.html",
    )


def roi_box(roi: Any, volume: Any) -> tuple[float, ...]:
    """Return the box around a Markups ROI as the engine takes it.

    Args:
        roi: May be turned and under a transform; then the box around its corners counts.
        volume: The scan, in whose own frame the box is.

    Returns:
        xmin, xmax, ymin, ymax, zmin, zmax in LPS millimeters.
    """
    to_world, size, corners = roi.GetObjectToWorldMatrix(), roi.GetSize(), []
    for signs in itertools.product((-0.5, 0.5), repeat=3):
        point = [sign * side for sign, side in zip(signs, size, strict=True)]
        own = [0.0, 0.0, 0.0]
        volume.TransformPointFromWorld(to_world.MultiplyPoint((*point, 1.0))[:3], own)
        corners.append((-own[0], -own[1], own[2]))
    return tuple(bound(axis) for axis in zip(*corners, strict=True) for bound in (min, max))


def arguments(
    inputs: Sequence[Path],
    files: Files,
    model: Model,
    parameters: Parameters,
    box: Sequence[float] = (),
) -> list[str | Path]:
    """Return the command line of `predict`.

    Args:
        inputs: One file per channel, or one list of files.
        files: Where the results go.
        model: The package.
        parameters: What is chosen.
        box: From `roi_box`; () takes the whole scan.

    Raises:
        InputError: A setting is not possible.
    """
    if not 0.0 <= parameters.minimum_volume_mm3 < float("inf"):
        raise InputError("the smallest piece must be 0 mm3 or more; correct it under Advanced")
    line: list[str | Path] = ["--package", model.path]
    for path in inputs:
        line += ["--input", path]
    line += ["--output", files.labels, "--report", files.report]
    for name in ("uncertainty", "probabilities", "report_html"):
        if getattr(files, name) is not None:
            line += [f"--{name.replace('_', '-')}", getattr(files, name)]
    if box:
        line += ["--roi", *(f"{side:.4f}" for side in box)]
    line += ["--uncertainty-kind", parameters.uncertainty_kind, "--device", parameters.device]
    if parameters.overlap >= 0:
        line += ["--overlap", f"{parameters.overlap / 100:g}"]
    if parameters.largest_component:
        line += ["--largest-component"]
    if parameters.minimum_volume_mm3 > 0:
        line += ["--minimum-volume-mm3", f"{parameters.minimum_volume_mm3:g}"]
    return line
