"""`dycon VERB ...`: the console script; the same as `python -m dycon_engine.VERB ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from dycon_engine import __version__
from dycon_engine.errors import InputError
from dycon_engine.settings import known

VERBS = {
    "audit": "say everything that is wrong with a data set before training on it",
    "collect": "copy scans into a data set under neutral names",
    "probe": "measure what a training run would take on this machine",
    "train": "train a model on labeled and unlabeled scans",
    "predict": "segment scans with a trained package",
    "evaluate": "compare segmentations with references and write a report",
    "prepare": "turn the public download of a benchmark's data set into a data set",
    "benchmark": "run methods on one split and compare them",
    "rank": "order unlabeled scans by what labeling them should teach",
    "describe": "show a package, a data set, the methods or this machine",
    "convert": "turn V-Net or 3D U-Net weights of the SSL4MIS family into a package",
    "demo": "the whole way on generated scans, no data needed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"dycon {__version__}\n")
        return 0
    try:
        verb = known(arguments[0], VERBS, "command")
    except InputError as error:
        sys.stderr.write(f"DyCON: {error}\n")
        return error.exit_code
    module = importlib.import_module(f"dycon_engine.{verb}")
    code: int = module.main(arguments[1:])
    return code


def _help() -> str:
    rows = "".join(f"  {verb:<10}{text}\n" for verb, text in VERBS.items())
    return (
        "usage: dycon COMMAND ...\n\n"
        "Semi-supervised 3D medical image segmentation with voxel uncertainty.\n"
        "Research use only; not a medical device.\n\n"
        f"commands:\n{rows}\n"
        "dycon COMMAND --help, or dycon help COMMAND, shows the options of one.\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
