"""A training job for another computer: one folder with data, engine and command; and its result.

data/           manifest and files under neutral names
dycon_engine/   the engine itself
request.json    what was asked for
settings.toml   the same for the command
README.md       the one command
result/         what the other computer writes; imported back as a run
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dycon_engine
from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.client import RunState, run_state
from dycon_engine.jobs.files import rename, write_error, write_json, write_text
from DyCONTrainingLib import manifest
from DyCONTrainingLib.cases import InDataset
from DyCONTrainingLib.folder import Folder
from DyCONTrainingLib.request import (
    DATA,
    REQUEST,
    START,
    TrainRequest,
    frozen_data,
    read_request,
)

DATA_FOLDER, RESULT, README, SETTINGS = "data", "result", "README.md", "settings.toml"
PARTIAL = ".partial-"
# every word is ours: what a model or a request says is in the file alone, out of a shell's reach
COMMAND = (
    f"python -m dycon_engine.train --data {DATA_FOLDER}/{manifest.NAME} --config {SETTINGS} "
    f"--run-dir {RESULT}"
)
KNOWN = (  # of a run directory: what is shown here, or needed to go on; nothing else is taken over
    "config.json",
    "versions.json",
    "split.json",
    "events.jsonl",
    "log.txt",
    "checkpoints/*.ckpt",
    "package/*.dycon",
    "report/*.json",
    "preview/*.nii.gz",
    "tensorboard/events.out.tfevents.*",
)
TEXT = """# A DyCON training job

One folder, one command, for a computer with Python 3.11 or newer and, better, a GPU.

    pip install "torch>=2.6" numpy scipy SimpleITK nibabel h5py safetensors rich matplotlib jinja2
    {command}

Run it inside this folder. It can be stopped (Ctrl-C) and goes on with `--resume` added. Copy the
folder `result` (or this whole folder) back and choose 'Import result' in DyCONTraining.

{cases}. Case names are neutral; who is who is not in this folder. Research use only; not a medical
device.
"""


class Export:
    """Writes the folder of a job, a file at a time; call `step` until it returns True."""

    def __init__(
        self, target: Path, folder: Folder, request: TrainRequest, package: Path | None = None
    ) -> None:
        """Plan the copies.

        Raises:
            InputError: The target is not empty, or lies in the data set.
        """
        if target.exists() and any(target.iterdir()):
            raise InputError(f"folder '{target.name}': is not empty; choose an empty one")
        if target.resolve().is_relative_to(folder.path.resolve()):
            raise InputError(f"folder '{target.name}': lies in the data set; choose another one")
        self._target, self._folder, self._request = target, folder, request
        self._package = package
        self._staged = target.with_name(PARTIAL + target.name)
        sources = [s for row in folder.content.rows for s in (*row.images, row.label)]
        self._files = [source.path for source in sources if isinstance(source, InDataset)]
        self.total = len(self._files)

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many files are copied, of how many."""
        return self.total - len(self._files), self.total

    def step(self) -> bool:
        """Copy a file; return whether the folder is complete.

        Raises:
            DyconError: It cannot be written; nothing of it is left.
        """
        try:
            if self._files:
                _copy(self._folder.path, self._staged / DATA_FOLDER, self._files.pop(0))
                return False
            self._finish()
        except OSError as error:
            self.cancel()
            raise write_error(self._target, error) from error
        except DyconError:
            self.cancel()
            raise
        return True

    def cancel(self) -> None:
        """Stop and remove what was written."""
        shutil.rmtree(self._staged, ignore_errors=True)

    def _finish(self) -> None:
        staged, content = self._staged, self._folder.content
        engine = Path(dycon_engine.__file__).parent
        hidden = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "CMakeLists.txt")
        shutil.copytree(engine, staged / engine.name, ignore=hidden)
        write_text(staged / DATA_FOLDER / manifest.NAME, manifest.as_text(content))
        write_json(staged / REQUEST, vars(self._request))
        write_text(staged / SETTINGS, self._request.as_toml())
        if self._package is not None:
            shutil.copyfile(self._package, staged / START)
        write_text(staged / README, self._readme())
        if self._target.exists():
            self._target.rmdir()
        rename(staged, self._target)

    def _readme(self) -> str:
        start = f" --package {START}" if self._package is not None else ""
        rows = self._folder.content.rows
        labeled = sum(row.label is not None for row in rows)
        cases = f"{len(rows)} cases, {labeled} of them with labels"
        return TEXT.format(command=COMMAND + start, cases=cases)


def import_result(chosen: Path, folder: Folder, new_name: Callable[[str], str]) -> Path:
    """Copy a result folder of another computer into the runs of the data set; return the run.

    Args:
        chosen: The folder `result`, or the job's folder that holds it.
        folder: The data set.
        new_name: Gives a free name for a run of a method.

    Raises:
        InputError: It is no result, or the other computer still works on it.
        DyconError: It cannot be copied; nothing of it is left.
    """
    result = chosen / RESULT if (chosen / RESULT).is_dir() else chosen
    if not _is_own(result / "config.json", result):
        raise InputError(
            f"folder '{chosen.name}': holds no result of training (no config.json); choose the "
            f"folder '{RESULT}' of the job, after it ran"
        )
    if run_state(result) is RunState.RUNNING:
        raise InputError(
            f"folder '{chosen.name}': the other computer still trains in it, or was switched off "
            "meanwhile; let it end, or delete its file 'lock'"
        )
    request = read_request(result.parent) or read_request(result) or TrainRequest()
    target = folder.runs / new_name(request.method)
    staged = target.with_name(PARTIAL + target.name)
    try:
        _copy_known(result, staged)
        write_text(staged / DATA, frozen_data(folder, staged))
        write_json(staged / REQUEST, vars(request))
        rename(staged, target)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise write_error(target, error) from error
    except DyconError:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return target


def _copy(source: Path, target: Path, name: str) -> None:
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / name, target / name)


def _copy_known(result: Path, target: Path) -> None:
    """Copy the files of a run; no others, which could be programs, and nothing that is a link."""
    for pattern in KNOWN:
        for file in result.glob(pattern):
            if _is_own(file, result):
                _copy(result, target, file.relative_to(result).as_posix())


def _is_own(file: Path, folder: Path) -> bool:
    """Return whether a file lies where its name says: a link may show anything of this computer."""
    return file.is_file() and file.resolve() == folder.resolve() / file.relative_to(folder)
