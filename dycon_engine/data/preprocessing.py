"""From a scan to the network's input and exactly back: axes, spacing, intensities.

The network sees every scan closest to axial LPS (array z to S, y to P, x to L), at one spacing,
with normalised intensities. Axes are permuted and flipped; they are turned (straightened) only for
a model that has never seen scans that lie as askew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import PreprocessingConfig
from dycon_engine.data import resampling, restoring
from dycon_engine.data.blank import blank_voxels
from dycon_engine.data.geometry import Geometry, Spacing
from dycon_engine.data.orientation import axial_orientation
from dycon_engine.data.straightening import straight_geometry, straighten
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError

MAX_SAMPLES = 4_000_000  # voxels that percentiles are taken from; larger scans are strided


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as the network sees it.

    Attributes:
        array: (C, D, H, W) float32 normalised intensities.
        geometry: The network's grid.
        source: The scan's own grid, to which results are restored.
        air: (D, H, W) bool: only voxels at the scan's lowest value, or blank ones, lie here (in
            every channel).
        blank: (D, H, W) bool: only voxels that are blank (`data.blank`) in every channel lie here;
            None where there are none.
        blank_source: The same on the scan's own grid.
    """

    array: NDArray[np.float32]
    geometry: Geometry
    source: Geometry
    air: NDArray[np.bool_]
    blank: NDArray[np.bool_] | None = None
    blank_source: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How scans are prepared; stored in the package.

    Attributes:
        spacing_mm: Voxel size (z, y, x) of the network's grid.
        normalization: zscore, window or none.
        window: CT window, low and high.
        clip_percentiles: zscore: limits, percentiles of the voxels above the scan's lowest value.
        excludes_blank: Whether blank voxels count for nothing and are background, and air is. Not
            where structures were drawn there: lungs in a CT that was clipped, for one.
    """

    spacing_mm: Spacing
    normalization: str = "zscore"
    window: tuple[float, float] = (-160.0, 240.0)
    clip_percentiles: tuple[float, float] = (0.05, 99.95)
    excludes_blank: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: A spacing, window or percentile makes no sense.
        """
        if not all(math.isfinite(mm) and mm > 0 for mm in self.spacing_mm):
            raise InputError(
                f"preprocessing.spacing_mm: found {list(self.spacing_mm)}, expected three "
                "numbers above 0; correct the setting"
            )
        if self.normalization not in ("zscore", "window", "none"):
            raise InputError(
                f"preprocessing.normalization: found '{self.normalization}', "
                "expected zscore, window or none; correct the setting"
            )
        low, high = self.clip_percentiles
        if not self.window[0] < self.window[1] or not 0 <= low < high <= 100:  # noqa: PLR2004
            raise InputError(
                f"preprocessing: window {list(self.window)} and clip_percentiles [{low}, {high}] "
                "must each rise, percentiles within 0 to 100; correct the setting"
            )

    @staticmethod
    def plan(
        config: PreprocessingConfig,
        *,
        spacing_mm: Spacing,
        is_ct: bool = False,
        excludes_blank: bool = True,
    ) -> Preprocessing:
        """Return the preprocessing of a run.

        Args:
            config: The settings; None and auto are filled in.
            spacing_mm: Spacing where the settings name none: the median of the labeled cases.
            is_ct: Whether the scans hold Hounsfield units.
            excludes_blank: Whether nothing is drawn where the scans are blank.
        """
        auto = "window" if is_ct else "zscore"
        return Preprocessing(
            spacing_mm=config.spacing_mm or spacing_mm,
            normalization=auto if config.normalization == "auto" else config.normalization,
            window=config.window,
            clip_percentiles=config.clip_percentiles,
            excludes_blank=excludes_blank,
        )

    def as_table(self) -> dict[str, Any]:
        """Return plain values for JSON; `excludes_blank` only where it is not so."""
        return {
            "orientation": "axial LPS: z to S, y to P, x to L",
            "spacing_mm": list(self.spacing_mm),
            "normalization": self.normalization,
            "window": list(self.window),
            "clip_percentiles": list(self.clip_percentiles),
            **({} if self.excludes_blank else {"excludes_blank": False}),
        }

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Preprocessing:
        """Return the preprocessing of `as_table`.

        Raises:
            InputError: The table is not one of `as_table`.
        """
        try:
            z, y, x = (float(mm) for mm in table["spacing_mm"])
            low, high = (float(value) for value in table["window"])
            first, last = (float(value) for value in table["clip_percentiles"])
            return Preprocessing(
                (z, y, x),
                str(table["normalization"]),
                (low, high),
                (first, last),
                excludes_blank=table.get("excludes_blank", True) is not False,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"preprocessing table is incomplete or damaged ({error!r}); make it again"
            ) from error

    def network_geometry(self, source: Geometry, *, straight: bool = False) -> Geometry:
        """Return the network's grid for a scan on `source`."""
        if straight:
            return straight_geometry(source, self.spacing_mm)
        oriented = axial_orientation(source).geometry(source)
        return resampling.resampled_geometry(oriented, self.spacing_mm)

    def prepare(self, image: Volume, *, straight: bool = False) -> Prepared:
        """Return `image` (C, D, H, W; finite) on the network's grid, normalised.

        Blank voxels, where excluded, count for nothing: unless intensities are left as they are,
        they get the lowest value of the others. Where not, nothing is blank, and nothing air.

        Args:
            image: The scan.
            straight: Whether to turn it onto the axes of the world; blank is then also what lies
                around it.
        """
        orientation = axial_orientation(image.geometry)
        oriented = orientation.geometry(image.geometry)
        target = self.network_geometry(image.geometry, straight=straight)
        moved = _mover(oriented, target, straight=straight)
        channels = []
        tissue = np.zeros(oriented.size_zyx, dtype=bool)
        scanned = np.zeros(oriented.size_zyx, dtype=bool)
        for raw in image.array:
            channel = np.ascontiguousarray(orientation.apply(raw), dtype=np.float32)
            blank = blank_voxels(channel, oriented.voxel_mm3) if self.excludes_blank else None
            scanned |= True if blank is None else ~blank
            if blank is not None and self.normalization != "none":
                channel = np.where(blank, channel[~blank].min(), channel)
            above = channel > channel.min()
            tissue |= above if self.excludes_blank else True
            channel = self._normalized(channel, above)  # one copy of a large scan at a time
            channels.append(moved(channel, float(channel.min())))
            del channel, above
        whole = bool(scanned.all())
        return Prepared(
            np.stack(channels),
            target,
            image.geometry,
            moved(tissue.astype(np.float32), 0.0) == 0.0,
            None if whole and not straight else moved(scanned.astype(np.float32), 0.0) == 0.0,
            None if whole else orientation.undo(~scanned),
        )

    def prepare_label(self, label: Volume, classes: int) -> NDArray[np.uint8]:
        """Return the (D, H, W) class indices of `label` on the network's grid."""
        orientation = axial_orientation(label.geometry)
        oriented = orientation.geometry(label.geometry)
        target = resampling.resampled_geometry(oriented, self.spacing_mm)
        matrices = resampling.axis_matrices(oriented, target)
        labels = np.ascontiguousarray(orientation.apply(label.array), dtype=np.uint8)
        return resampling.resample_labels(labels, matrices, classes)

    def restore(
        self, probabilities: NDArray[np.float32], source: Geometry | Prepared
    ) -> NDArray[np.float32]:
        """Return probabilities (K, D, H, W) of the network's grid on the scan's own grid."""
        grid = source.source if isinstance(source, Prepared) else source
        return restoring.restore(probabilities, grid, self.spacing_mm)

    def _normalized(
        self, channel: NDArray[np.float32], above: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        if self.normalization == "none":
            return channel
        if self.normalization == "window":
            low, high = self.window
            scaled = (np.clip(channel, low, high) - low) * (2.0 / (high - low)) - 1.0
            return np.asarray(scaled, dtype=np.float32)
        tissue = strided(channel[above])
        if tissue.size == 0:
            return np.zeros_like(channel)
        low, high = (float(value) for value in np.percentile(tissue, self.clip_percentiles))
        tissue = np.clip(tissue, low, high)
        mean, deviation = float(tissue.mean(dtype=np.float64)), float(tissue.std(dtype=np.float64))
        if deviation <= 1e-6 * max(1.0, abs(mean)):
            deviation = max(high - float(channel.min()), 1e-6)
        normalized = np.clip(channel, low, high)
        normalized -= np.float32(mean)
        normalized /= np.float32(deviation)
        return normalized


def _mover(
    source: Geometry, target: Geometry, *, straight: bool
) -> Callable[[NDArray[np.float32], float], NDArray[np.float32]]:
    """Return what brings (D, H, W) from one grid to the other, given what lies around it."""
    if straight:
        return lambda array, fill: straighten(array[None], source, target, fill=fill)[0]
    matrices = resampling.axis_matrices(source, target)
    return lambda array, _fill: resampling.apply_matrices(array[None], matrices)[0]


def strided(values: NDArray[Any], limit: int = MAX_SAMPLES) -> NDArray[Any]:
    """Return at most about `limit` of the 1-D `values`, evenly taken."""
    step = -(-values.size // limit)
    return values if step <= 1 else values[::step].copy()  # which lets go of the rest
