"""From a scan to label map, uncertainty, volumes, regions and flags, all on the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.config import InferenceConfig
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Prepared
from dycon_engine.data.seen import scan_facts
from dycon_engine.data.volume import Volume
from dycon_engine.errors import InputError
from dycon_engine.inference import uncertainty as kinds
from dycon_engine.inference.domain import Flag, domain_flags, empty_flags
from dycon_engine.inference.memory import available_bytes, check_fits, needed_bytes
from dycon_engine.inference.postprocessing import keep_components
from dycon_engine.inference.probabilities import Place, complete, most_likely, restored
from dycon_engine.inference.progress import MEASURING
from dycon_engine.inference.regions import Region, uncertain_regions
from dycon_engine.inference.sliding_window import Slab, Watch, slide_slabs
from dycon_engine.inference.volumes import LabelVolume, Tally
from dycon_engine.networks.devices import move
from dycon_engine.package import Package
from dycon_engine.settings import known


class Wishes(NamedTuple):
    """What a prediction should give beside the label map.

    Attributes:
        uncertainty: A name of `uncertainty.KINDS`, or None.
        probabilities: Whether to keep them, (K, D, H, W) float32 on the scan's grid.
        largest_component: Keep only the largest piece of every label.
        minimum_mm3: Remove smaller pieces.
    """

    uncertainty: str | None = kinds.ENTROPY
    probabilities: bool = False
    largest_component: bool = False
    minimum_mm3: float = 0.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """A segmented scan, on the scan's own grid.

    Attributes:
        labels: (D, H, W) unsigned, the values of the package's labels.
        geometry: The grid.
        probabilities: (K, D, H, W) float32 calibrated, or None.
        uncertainty: (D, H, W) float32 in [0, 1], or None.
        volumes: One entry per label, background left out.
        mean_uncertainty: Over the labeled voxels; None where there are none or it was not asked.
        regions: Where to look first.
        flags: What to know before trusting the result.
    """

    labels: NDArray[Any]
    geometry: Geometry
    probabilities: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    volumes: tuple[LabelVolume, ...]
    mean_uncertainty: float | None
    regions: tuple[Region, ...]
    flags: tuple[Flag, ...]


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
            InputError: An unknown kind, no partner, or no dropout.
        """
        if wishes.uncertainty is None:
            return
        known(wishes.uncertainty, kinds.KINDS, "kind of uncertainty")
        self._passes(wishes)

    def check_memory(self, source: Geometry, what: str, *, probabilities: bool = False) -> None:
        """Refuse a scan that cannot fit into memory, from its grid alone.

        Raises:
            OutOfMemoryError: Naming what is needed and what is available.
        """
        info = self.package.info
        target = info.preprocessing.network_geometry(source)
        needed = needed_bytes(
            source.size_zyx,
            target.size_zyx,
            channels=len(info.channels),
            classes=info.classes,
            patch_size=info.patch_size,
            probabilities=probabilities,
        )
        check_fits(needed, available_bytes(), what)

    def predict(
        self,
        image: Volume,
        wishes: Wishes | None = None,
        *,
        watch: Watch | None = None,
    ) -> Prediction:
        """Return the segmentation of `image` (C, D, H, W).

        The label map always comes from the plain pass: asking for uncertainty never changes it.

        Raises:
            InputError: The number of channels is not the package's; or as `check`.
            NonFiniteError: The network gave NaN or infinity.
            CancelledError: `watch` said so.
            OutOfMemoryError: Also the smallest way needs more than there is.
        """
        wishes = wishes or Wishes()
        self.check(wishes)
        info = self.package.info
        if image.array.shape[0] != len(info.channels):
            raise InputError(
                f"the scan has {image.array.shape[0]} channels, the model expects "
                f"{len(info.channels)}: {', '.join(info.channels)}; name one file per channel"
            )
        prepared = info.preprocessing.prepare(image)
        flags = domain_flags(scan_facts(image, prepared), info.seen)
        result = _Result(info.classes, image.geometry, wishes)
        passes = self._passes(wishes)
        slabs = self._slabs(prepared, passes, watch)
        spacing_mm = info.preprocessing.spacing_mm
        for place, likely in restored(slabs, image.geometry, spacing_mm, sets=passes.sets):
            result.add(place, likely)
        if watch is not None:
            watch.on_stage(MEASURING, 1)
        return result.finish([label.name for label in info.labels], self._values(), flags)

    def _passes(self, wishes: Wishes) -> kinds.Passes:
        temperature = self.package.info.calibration.temperature
        return kinds.passes(wishes.uncertainty, self.network, self.partner, temperature)

    def _values(self) -> NDArray[Any]:
        values = np.array([label.value for label in self.package.info.labels])
        return values.astype(np.min_scalar_type(values.max()))

    def _slabs(
        self, prepared: Prepared, passes: kinds.Passes, watch: Watch | None
    ) -> Iterator[Slab]:
        classes = self.package.info.classes
        return slide_slabs(
            passes.apply,
            torch.from_numpy(prepared.array),
            patch_size=self.package.info.patch_size,
            classes=passes.sets * classes,
            background=tuple(range(0, passes.sets * classes, classes)),
            config=self.inference,
            air=prepared.air,
            device=self.device,
            watch=watch,
        )


class _Result:
    """Fills the maps on the scan's grid slab by slab."""

    def __init__(self, classes: int, geometry: Geometry, wishes: Wishes) -> None:
        size = geometry.size_zyx
        self.classes, self.geometry, self.wishes = classes, geometry, wishes
        self.labels = np.zeros(size, dtype=np.uint8)
        self.uncertainty = None if wishes.uncertainty is None else np.zeros(size, dtype=np.float32)
        self.probabilities = (
            np.zeros((classes, *size), dtype=np.float32) if wishes.probabilities else None
        )
        self.tally = Tally(classes - 1)

    def add(self, place: Place, foreground: Tensor) -> None:
        """Take the foreground probabilities (sets x (K - 1), d, h, w) of some rows."""
        sets = foreground.view(-1, self.classes - 1, *foreground.shape[1:])
        plain, other = sets[0], sets[-1]
        place(self.labels)[:] = most_likely(plain).numpy()
        self.tally.add(plain)
        if self.probabilities is not None:
            place(self.probabilities)[:] = complete(plain).numpy()
        if self.uncertainty is None:
            return
        if self.wishes.uncertainty == kinds.DISAGREEMENT:
            values = kinds.disagreement(complete(plain), complete(other))
        else:
            values = kinds.entropy(complete(other))
        place(self.uncertainty)[:] = values.numpy()

    def finish(self, names: list[str], values: NDArray[Any], flags: tuple[Flag, ...]) -> Prediction:
        """Return the prediction: pieces removed, volumes, regions, flags."""
        if self.wishes.largest_component or self.wishes.minimum_mm3 > 0:
            keep_components(
                self.labels,
                self.classes,
                voxel_mm3=self.geometry.voxel_mm3,
                largest=self.wishes.largest_component,
                minimum_mm3=self.wishes.minimum_mm3,
            )
        volumes = self.tally.volumes(self.labels, self.uncertainty, names, self.geometry)
        empty = empty_flags({volume.name: volume.voxels for volume in volumes})
        foreground = self.labels > 0
        regions: tuple[Region, ...] = ()
        mean = None
        if self.uncertainty is not None:
            regions = uncertain_regions(self.uncertainty, self.labels, self.geometry, names)
            mean = float(self.uncertainty[foreground].mean()) if foreground.any() else None
        return Prediction(
            labels=values[self.labels],
            geometry=self.geometry,
            probabilities=self.probabilities,
            uncertainty=self.uncertainty,
            volumes=volumes,
            mean_uncertainty=mean,
            regions=regions,
            flags=(*flags, *empty),
        )
