"""From a scan to label map, uncertainty, volumes, regions and flags, all on the scan's own grid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dycon_engine.config import InferenceConfig
from dycon_engine.data.geometry import Box, Geometry
from dycon_engine.data.preprocessing import Prepared
from dycon_engine.data.seen import scan_facts
from dycon_engine.data.straightening import turn_deg
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.inference import uncertainty as kinds
from dycon_engine.inference.blending import Slab, Watch
from dycon_engine.inference.domain import domain_flags, is_askew, volume_flags
from dycon_engine.inference.memory import (
    FLOAT_BYTES,
    available_bytes,
    check_fits,
    needed_bytes,
    window_features,
)
from dycon_engine.inference.probabilities import margins, restored
from dycon_engine.inference.progress import MEASURING
from dycon_engine.inference.result import Prediction, Result, Wishes
from dycon_engine.inference.sliding_window import slide_slabs
from dycon_engine.networks.devices import move
from dycon_engine.package import Package
from dycon_engine.settings import known


class Predictor:
    """A package on a device, ready for one scan after the other."""

    def __init__(
        self,
        package: Package,
        device: torch.device | str = "cpu",
        *,
        inference: InferenceConfig | None = None,
    ) -> None:
        self.package = package
        self.device = torch.device(device)
        self.inference = inference or package.info.inference
        self.network, self.partner = package.predictor.eval(), package.partner
        move(self.network, self.device)
        if self.partner is not None:
            move(self.partner.eval(), self.device)

    def check(self, wishes: Wishes) -> None:
        """Refuse wishes this package cannot fulfil, before any scan is read.

        Raises:
            InputError: An unknown kind, no partner, no dropout, or no mirrored axes.
        """
        if wishes.uncertainty is None:
            return
        known(wishes.uncertainty, kinds.KINDS, "kind of uncertainty")
        self._passes(wishes)

    def check_memory(self, source: Geometry, what: str, wishes: Wishes | None = None) -> None:
        """Refuse a scan that cannot fit into memory, from its grid alone.

        Args:
            source: The scan's grid.
            what: Names the scan.
            wishes: What will be predicted; None where nothing comes back to the scan's own grid.

        Raises:
            OutOfMemoryError: Naming what is needed and what is available.
        """
        info = self.package.info
        straight = self._straightens(source)
        target = info.preprocessing.network_geometry(source, straight=straight)
        needed = needed_bytes(
            source.size_zyx,
            target.size_zyx,
            channels=len(info.channels),
            classes=info.classes,
            patch_size=info.patch_size,
            features=window_features(info.network, info.composition),
            probabilities=wishes is not None and wishes.probabilities,
        )
        if straight and wishes is not None:  # all sets of probabilities on the whole network grid
            voxels = self._passes(wishes).sets * math.prod(target.size_zyx)
            needed += FLOAT_BYTES * (info.classes - 1) * voxels
        check_fits(needed, available_bytes(), what)

    def prepare(self, image: Volume) -> Prepared:
        """Return `image` (C, D, H, W) as the network sees it.

        Raises:
            InputError: Not four axes, another size than the geometry's, or another number of
                channels than the package's.
        """
        channels = self.package.info.channels
        if image.array.ndim != 4:  # noqa: PLR2004 - C, D, H, W
            raise InputError(
                f"the scan's array has the shape {image.array.shape}, expected (channels, z, y, "
                "x); give a single channel as array[None]"
            )
        if image.array.shape[1:] != image.geometry.size_zyx:
            raise InputError(
                f"the scan's array has {image.array.shape[1:]} voxels (z, y, x), its geometry "
                f"{image.geometry.size_zyx}; make both of one size"
            )
        if image.array.shape[0] != len(channels):
            raise InputError(
                f"the scan has {image.array.shape[0]} channels, the model expects "
                f"{len(channels)}: {', '.join(channels)}; name one file per channel"
            )
        straight = self._straightens(image.geometry)
        return self.package.info.preprocessing.prepare(image, straight=straight)

    def predict(
        self,
        image: Volume,
        wishes: Wishes | None = None,
        *,
        watch: Watch | None = None,
    ) -> Prediction:
        """Return the segmentation of `image` (C, D, H, W).

        The label map always comes from the plain pass: asking for uncertainty never changes it.

        Inside a region of interest the result is that of the whole scan: every window that touches
        the region is computed, and intensities are normalised over the whole scan.

        Raises:
            InputError: The number of channels is not the package's; the region of interest lies
                beside the scan; or as `check`.
            NonFiniteError: The network gave NaN or infinity.
            CancelledError: `watch` said so.
            OutOfMemoryError: Also the smallest way needs more than there is.
        """
        wishes = wishes or Wishes()
        self.check(wishes)
        info = self.package.info
        prepared = self.prepare(image)
        result = Result(info.classes, image.geometry, wishes)
        result.exclude(prepared.blank_source)
        flags = domain_flags(scan_facts(image, prepared), info.seen)
        passes = self._passes(wishes)
        slabs = self.slabs(prepared, passes, roi=wishes.roi, watch=watch)
        pieces = restored(
            slabs,
            image.geometry,
            info.preprocessing.spacing_mm,
            sets=passes.sets,
            straight=prepared.geometry if self._straightens(image.geometry) else None,
        )
        for place, likely in pieces:
            result.add(place, likely)
        if watch is not None:
            watch.on_stage(MEASURING, 1)
        done = result.finish([label.name for label in info.labels], self._values(), flags)
        if wishes.roi is not None:  # which may cut a structure
            return done
        return dataclasses.replace(
            done, flags=(*done.flags, *volume_flags(done.volumes, info.seen))
        )

    def slabs(
        self,
        prepared: Prepared,
        passes: kinds.Passes,
        *,
        roi: Box | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Slab]:
        """Yield `margins` (sets x (K - 1), D, H, W) on the network's grid, rows as they finish.

        Raises:
            CancelledError: `watch` said so.
            OutOfMemoryError: Also the smallest way needs more than there is.
        """
        outside = None
        if roi is not None:
            coarser = np.maximum(prepared.geometry.spacing_mm, prepared.source.spacing_mm)
            reach_mm = float(np.linalg.norm(coarser))  # of the interpolation between the grids
            outside = ~prepared.geometry.inside(roi, margin_mm=reach_mm)
        channels = passes.sets * (self.package.info.classes - 1)
        return slide_slabs(
            lambda patches: margins(passes.apply(patches), passes.sets),
            torch.from_numpy(prepared.array),
            patch_size=self.package.info.patch_size,
            classes=channels,
            background=tuple(range(channels)),  # air: it leads everywhere
            config=self.inference,
            air=prepared.air,
            blank=prepared.blank,
            outside=outside,
            device=self.device,
            watch=watch,
        )

    def _straightens(self, source: Geometry) -> bool:
        return is_askew(turn_deg(source), self.package.info.seen)

    def _passes(self, wishes: Wishes) -> kinds.Passes:
        temperature = self.package.info.calibration.temperature
        return kinds.passes(
            wishes.uncertainty,
            self.network,
            self.partner,
            temperature=temperature,
            mirrored=self.package.info.mirrored_axes,
        )

    def _values(self) -> NDArray[Any]:
        values = np.array([label.value for label in self.package.info.labels])
        return values.astype(np.min_scalar_type(values.max()))
