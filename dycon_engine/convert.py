"""Turn V-Net or 3D U-Net weights of the SSL4MIS family (.pth) into a package."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.reporter import Reporter, run_job


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon convert",
        description="Turn V-Net or 3D U-Net weights of the SSL4MIS family (.pth) into a package. "
        "Only tensors are read from the file; nothing in it is executed.",
    )
    add = line.add_argument
    add("--weights", type=Path, required=True, help="state dict, .pth")
    add("--network", choices=("auto", "vnet", "unet3d"), default="auto", help="default: auto")
    add("--labels", required=True, help="names of all classes, background first: background,atrium")
    add("--spacing", required=True, help="voxel size z,y,x in mm the network was trained at")
    add("--patch", default="80,112,112", help="window z,y,x it was trained with")
    add("--axes", choices=("xyz", "zyx"), default="xyz", help="axes of its arrays; LA files: xyz")
    add(
        "--normalization",
        choices=("zscore", "window", "none"),
        default="zscore",
        help="how intensities were prepared",
    )
    add("--window", default="-160,240", help="low,high of a CT window")
    add("--output", type=Path, required=True, help="NAME.dycon")
    add("--overwrite", action="store_true", help="replace a package that is there")
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parser().parse_args(argv)

    def job(_reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.package import foreign  # noqa: PLC0415 - no torch yet

        request = foreign.Foreign(
            weights=options.weights,
            network=options.network,
            labels=tuple(part.strip() for part in options.labels.split(",")),
            spacing_mm=foreign.numbers("--spacing", options.spacing, 3),
            patch_size=foreign.numbers("--patch", options.patch, 3),
            axes=options.axes,
            normalization=options.normalization,
            window=foreign.numbers("--window", options.window, 2),
        )
        info = foreign.import_weights(request, options.output, overwrite=options.overwrite)
        return {"network": info.network.name, "filters": list(info.network.filters)}

    return run_job("convert", job)


if __name__ == "__main__":
    raise SystemExit(main())
