"""Which Python runs the engine: Slicer's own, or one of another environment that a person chose."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import write_json
from DyCONLib.install import missing_packages

FILE = "DyCON-python.json"
LOWEST = (3, 11)  # as pyproject.toml, a test compares
LIMIT_S = 60.0
IMPORT_S = 90.0  # PyTorch for the first time, from a slow disk that a virus scanner watches
PLACES = ("bin/python3", "bin/python", "Scripts/python.exe", "python.exe", "python3", "python")
OWN_ONLY = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
CONDA_PATHS = ("", "Library/bin", "Scripts")  # of an activated environment on Windows
QUESTION = (  # understood by any Python 3; what it lacks is found without importing it
    "import json, sys\n"
    "found = {'version': list(sys.version_info[:2])}\n"
    f"if sys.version_info >= {LOWEST}:\n"
    "    from DyCONLib.install import missing_packages\n"
    "    found['missing'] = missing_packages()\n"
    "    try:\n"
    "        if not found['missing']: import torch, numpy, SimpleITK\n"
    "    except Exception as error:\n"
    "        found['broken'] = type(error).__name__ + ': ' + str(error)\n"
    "print(json.dumps(found))\n"
)


def default_python() -> Path:
    """Return the interpreter that runs the engine: this one, or Slicer's PythonSlicer.

    Raises:
        InputError: This process is no Python interpreter and PythonSlicer is not found.
    """
    own = Path(sys.executable or "")
    if "python" in own.name.lower():  # in Slicer sys.executable is PythonSlicer
        return own
    names = ("PythonSlicer", "PythonSlicer.exe") if own.name else ()  # '': Slicer found none
    beside = [own.with_name(name) for name in names]
    found = next((path for path in beside if path.is_file()), None) or shutil.which("PythonSlicer")
    if found is None:
        raise InputError(
            f"PythonSlicer: not found beside '{own}' nor on the PATH; reinstall 3D Slicer"
        )
    return Path(found)


class EnginePython:
    """The person's choice, kept for this Slicer in a file beside its settings.

    Another environment helps where Slicer's own Python cannot have PyTorch, as in Slicer's Intel
    builds for macOS, or where one with PyTorch is there already. It needs the engine's packages;
    the engine itself comes from this extension.
    """

    def __init__(self, settings: Path, environment: Mapping[str, str]) -> None:
        """Know the choice that is kept in a folder.

        Args:
            settings: The folder.
            environment: What processes of the engine inherit.
        """
        self._file, self._environment = settings / FILE, environment

    @property
    def chosen(self) -> Path | None:
        """The interpreter of another environment; None for Slicer's own, also if it is gone."""
        try:
            path = Path(json.loads(self._file.read_text(encoding="utf-8"))["python"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return path if path.is_file() else None

    def missing(self) -> list[str]:
        """Return what the engine needs and the interpreter lacks; a chosen one was asked then."""
        return missing_packages() if self.chosen is None else []

    def choose(self, folder: Path) -> None:
        """Run the engine in the environment in `folder` from now on.

        Args:
            folder: What `python -m venv` or conda made, or the folder of an interpreter.

        Raises:
            InputError: There is no Python in it, or one that cannot run the engine.
            DyconError: The choice cannot be kept.
        """
        python = _python_in(folder)
        found = _ask(python, self._environment)
        version = ".".join(map(str, found["version"]))
        if "missing" not in found:
            raise InputError(
                f"'{python}': is Python {version}, the engine needs "
                f"{'.'.join(map(str, LOWEST))} or newer; choose another environment"
            )
        if found["missing"]:
            packages = " ".join(f'"{name}"' for name in found["missing"])
            raise InputError(
                f"'{python}': lacks packages that the engine needs; install them in a terminal, "
                f'"{python}" -m pip install {packages}, and choose it again'
            )
        if "broken" in found:
            raise InputError(
                f"'{python}': cannot import PyTorch, numpy or SimpleITK ("
                f"{_last_line(found['broken'])}); repair that environment or choose another"
            )
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, {"python": str(python)})

    def forget(self) -> None:
        """Run the engine in Slicer's own Python again.

        Raises:
            DyconError: The choice cannot be removed.
        """
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            raise DyconError(f"'{self._file}': cannot be removed ({error.strerror})") from error


def as_foreign(
    argv: Sequence[str], environment: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return command line and environment with which an interpreter that is not Slicer's works.

    What makes a process Slicer's Python is taken out of its environment. A child of an Intel
    process on Apple Silicon would run as Intel code where it has both, so it is asked not to. On
    Windows one of conda finds its libraries on the path only, as if it was activated.

    Args:
        argv: Interpreter, -m, module, its arguments; any other program is left as it is.
        environment: Of the child.
    """
    if argv[1:2] not in {("-m",), ("-c",)} or _is_own(argv[0]):
        return argv, environment
    kept = {name: value for name, value in environment.items() if name not in OWN_ONLY}
    if os.name == "nt":
        kept |= _conda_path(Path(argv[0]).parent, kept)
    return (("/usr/bin/arch", "-arm64", "-x86_64") if _is_translated() else ()) + tuple(argv), kept


def _conda_path(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the PATH with what conda's activation puts in front; nothing where it is not conda's.

    Names of variables are one on Windows whatever their case, so the one that is there is kept.
    """
    if not (folder / "conda-meta").is_dir():
        return {}
    name = next((name for name in environment if name.upper() == "PATH"), "PATH")
    paths = [*(str(folder / part) for part in CONDA_PATHS), environment.get(name, "")]
    return {name: os.pathsep.join(path for path in paths if path)}


def _is_own(python: str) -> bool:
    try:
        return Path(python) == default_python()
    except InputError:
        return False


def _python_in(folder: Path) -> Path:
    found = next((folder / place for place in PLACES if (folder / place).is_file()), None)
    if found is None:
        raise InputError(
            f"'{folder}': no Python found there (bin/python or Scripts/python.exe); choose the "
            "folder of an environment that venv or conda made"
        )
    return found.absolute()  # not resolved: by the link an interpreter knows its environment


def _ask(python: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    folder = str(Path(__file__).resolve().parents[1])
    argv, kept = as_foreign((str(python), "-c", QUESTION), {**environment, "PYTHONPATH": folder})
    try:
        answer = subprocess.run(
            argv,
            cwd=folder,
            env=dict(kept),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=IMPORT_S,
            creationflags=int(getattr(subprocess, "CREATE_NO_WINDOW", 0)),
        )
        found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        reason = _last_line((getattr(error, "stderr", None) or b"").decode("utf-8", "replace"))
        raise InputError(
            f"'{python}': does not answer as Python does ({reason or type(error).__name__}); "
            "choose another"
        ) from error
    return found


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


@functools.cache
def _is_translated() -> bool:
    """Return whether this is an Intel process on Apple Silicon."""
    if platform.system() != "Darwin" or platform.machine() != "x86_64":
        return False
    try:
        words = ("/usr/sbin/sysctl", "-n", "sysctl.proc_translated")
        said = subprocess.run(words, capture_output=True, check=True, timeout=LIMIT_S)
    except (OSError, subprocess.SubprocessError):
        return False
    return said.stdout.strip() == b"1"
