"""dcmqi, the tool of Slicer's own DICOM plugins, as a child process that nobody waits for.

Bundled with Slicer 5.12 and newer, part of the extension DCMQI before.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import staging_folder, write_error
from DyCONLib import processes
from DyCONLib.support_log import read_tail

LIMIT_S = 600.0
READING, WRITING = "Reading the series", "Writing DICOM"


def tool(name: str) -> str:
    """Return the path of a program of dcmqi.

    Raises:
        InputError: This Slicer has none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("dcmqi").files or ():
            if file.as_posix().startswith(f"dcmqi/bin/{name}"):
                return str(file.locate())
    module = getattr(slicer.modules, name, None)  # a command line module of the extension DCMQI
    if module is not None:
        return str(module.path)
    raise InputError(
        "DICOM results need Slicer 5.12 or newer, or the extension DCMQI; update Slicer or "
        "install it in the Extensions Manager"
    )


@contextlib.contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path`, so that what is made there can be moved to `path` at once."""
    try:
        with staging_folder(path.parent) as folder:
            yield folder
    except OSError as error:
        raise write_error(path, error) from error


def convert(
    name: str, image: tuple[str, str], meta: Mapping[str, Any], files: Sequence[Path], folder: Path
) -> Generator[str, None, Path]:
    """Make a DICOM file in `folder` and return its path; yields a word while it goes on.

    Every step is short. Closing the generator ends the process.

    Args:
        name: The program of dcmqi.
        image: Its option for the image, and the names of the file or files in `folder`; paths
            would be cut at a comma, and need letters that Windows may not have.
        meta: What it writes beside the voxels.
        files: The series that the result belongs to.
        folder: From `workspace`.

    Raises:
        DyconError: The program is missing, failed or did not end in time.
    """
    described, made, said = (folder / part for part in ("meta.json", "made.dcm", "stderr.txt"))
    described.write_text(json.dumps(meta), encoding="utf-8")
    line = [tool(name), *image, "--inputDICOMDirectory", "series"]
    line += ["--inputMetadata", described.name, "--outputDICOM", made.name]
    yield from _gather(files, folder / "series")
    process = processes.start(line, cwd=folder, environment=os.environ, stderr=said)
    try:
        end = time.monotonic() + LIMIT_S
        while process.poll() is None:
            if time.monotonic() > end:
                raise DyconError(f"{name} did not end in {LIMIT_S:.0f} s; nothing was written")
            yield WRITING
    finally:
        if process.poll() is None:
            processes.kill_tree(process.pid)
            processes.reap(process)
    if process.returncode != 0 or not made.is_file():
        errors = [text for text in read_tail(said).splitlines() if "ERROR" in text.upper()]
        reason = errors[-1].strip() if errors else f"code {process.returncode}"
        raise DyconError(f"{name} failed ({reason}); nothing was written")
    return made


def _gather(files: Sequence[Path], folder: Path) -> Iterator[str]:
    """Put `files` into `folder`, linked where that is possible; pause after one that is copied."""
    folder.mkdir()
    for number, file in enumerate(files):
        target = folder / f"{number:05d}.dcm"
        try:
            os.link(file, target)
        except OSError:  # another disk
            shutil.copyfile(file, target)
            yield READING
