"""What the engine needs of this Python, and its installation once the person has agreed.

Nothing is installed at import, when a module is opened, from a thread, or in testing mode. Slicer's
own numpy and SimpleITK are never replaced: pip is told to keep them as they are.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import CancelledError, DyconError

NEEDED = {  # distribution: lowest version; as pyproject.toml, a test compares
    "torch": "2.6",
    "numpy": "1.26",
    "scipy": "1.11",
    "SimpleITK": "2.3",
    "nibabel": "5.2",
    "h5py": "3.10",
    "safetensors": "0.4.3",
    "matplotlib": "3.8",
    "jinja2": "3.1",
}
BUNDLED = ("numpy", "SimpleITK")  # Slicer's own builds
TORCH_BELOW = {"nt": "2.13"}  # torch 2.13 does not load in fresh Slicer 5.12 installs on Windows
TITLE = "DyCON: install packages"
INSTALLING = "Packages are being installed. This takes some minutes; 3D Slicer may answer slowly."
_NUMBER = re.compile(r"\d+")

Confirm = Callable[[str, str], bool]


def missing_packages() -> list[str]:
    """Return what this Python lacks or has too old, as pip would call it; imports none of it."""
    importlib.invalidate_caches()
    return [_requirement(name) for name in NEEDED if not _is_there(name)]


def has_old_torch() -> bool:
    """Return whether PyTorch is there in a version that the engine cannot use."""
    version = _version("torch")
    return version is not None and not _at_least(version, NEEDED["torch"])


def hindrance() -> str:
    """Return why this Slicer can never have the engine's PyTorch; empty where it can."""
    if platform.system() != "Darwin" or platform.machine() != "x86_64" or _is_there("torch"):
        return ""
    return (
        "this 3D Slicer for macOS runs code for Intel processors, for which PyTorch ended with "
        f"version 2.2, and the engine needs {NEEDED['torch']}. On a computer with Apple Silicon, "
        "make a Python environment with PyTorch and press 'Use another Python...'; the tutorial "
        "says how"
    )


class Installer:
    """Asks once, then installs what is missing; call it from a button, on the main thread."""

    _running = False  # one for all panels: Slicer goes on with its events while pip works

    def __init__(self, confirm: Confirm | None = None) -> None:
        """Ask with `confirm` (text, title) -> agreed; without it with Slicer's own question."""
        self._confirm = confirm or _ask

    def ensure(self, begun: Callable[[], None] = lambda: None) -> bool:
        """Install what is missing; return whether the engine can run now.

        False only in Slicer's testing mode, where nothing is ever installed.

        Args:
            begun: Called when the person has agreed.

        Raises:
            CancelledError: The person does not want it.
            DyconError: It could not be installed; one sentence with what to do.
        """
        missing = missing_packages()
        if not missing:
            return True
        if _testing():
            return False
        if hindrance():
            raise DyconError(hindrance())
        if has_old_torch():
            raise DyconError(
                f"PyTorch {_version('torch')} is installed, the engine needs {NEEDED['torch']} or "
                "newer; uninstall it in the module PyTorch Utils, restart Slicer and come back"
            )
        if any(each.startswith("torch") for each in missing):
            _require_torch_installer()
        if Installer._running:
            raise DyconError("packages are being installed already; wait until that is done")
        Installer._running = True
        try:
            if not self._confirm(question(missing), TITLE):
                raise CancelledError("nothing was installed")
            begun()
            self._install(missing)
        finally:
            Installer._running = False
        left = missing_packages()
        if left:
            raise DyconError(
                f"{', '.join(left)}: still missing after the installation; restart Slicer and "
                "try again"
            )
        return True

    def _install(self, missing: Sequence[str]) -> None:
        torch = [spec for spec in missing if spec.startswith("torch")]
        others = [spec for spec in missing if spec not in torch]
        locked = [name for name in BUNDLED if _requirement(name) in others]
        if locked:
            raise DyconError(
                f"Slicer's own {locked[0]} is missing or too old and must not be replaced; "
                "install the current version of 3D Slicer"
            )
        try:
            if torch:
                _install_torch(torch[0].removeprefix("torch"))
            if others:
                _pip_install(others)
        except DyconError:
            raise
        except Exception as error:
            raise DyconError(
                f"{', '.join(missing)}: could not be installed ({_reason(error)}); check the "
                "network and the free disk space, then try again"
            ) from error


def question(missing: Sequence[str]) -> str:
    """Return what the person is asked before anything is downloaded."""
    size = "about 1 to 3 GB" if any(spec.startswith("torch") for spec in missing) else "some MB"
    return (
        "The engine needs these Python packages:\n\n"
        + "\n".join(f"  {spec}" for spec in missing)
        + f"\n\nThey are downloaded ({size}) from the Python Package Index and installed into "
        "Slicer's Python. Slicer's own packages are left as they are. Install them now?"
    )


def _is_there(name: str) -> bool:
    version = _version(name)
    if version is None:  # Slicer's own builds may carry no description
        return name in BUNDLED and importlib.util.find_spec(name) is not None
    return _at_least(version, NEEDED[name])


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _at_least(version: str, lowest: str) -> bool:
    return _numbers(version) >= _numbers(lowest)


def _numbers(version: str) -> tuple[int, ...]:
    parts = re.match(r"[\d.]*", version.removeprefix("v"))
    return tuple(int(n) for n in _NUMBER.findall(parts.group() if parts else ""))


def _requirement(name: str) -> str:
    below = f",<{TORCH_BELOW[os.name]}" if name == "torch" and os.name in TORCH_BELOW else ""
    return f"{name}>={NEEDED[name]}{below}"


def _ask(text: str, title: str) -> bool:
    import slicer.util  # noqa: PLC0415 - in Slicer only

    return bool(slicer.util.confirmOkCancelDisplay(text, title))


def _testing() -> bool:
    try:
        import slicer  # noqa: PLC0415 - in Slicer only
    except ImportError:
        return False
    app = getattr(slicer, "app", None)
    return app is not None and bool(app.testingEnabled())


def _require_torch_installer() -> None:
    """Refuse before the person is asked: modules of a source checkout bring no other extension."""
    try:
        importlib.import_module("PyTorchUtils")
    except ImportError:
        raise DyconError(
            "the extension PyTorch is not installed; install it in the Extensions Manager, "
            "restart Slicer and come back"
        ) from None


def _install_torch(version: str) -> None:
    """Install PyTorch for this computer's graphics card with the extension PyTorch."""
    from PyTorchUtils import PyTorchUtilsLogic  # noqa: PLC0415 - an extension

    installed = PyTorchUtilsLogic().installTorch(
        askConfirmation=False,  # the person has agreed to the whole list
        torchVersionRequirement=version,
    )
    if installed is None:
        raise DyconError("PyTorch was not installed; try again, or install it in PyTorch Utils")


def _pip_install(requirements: Sequence[str]) -> None:
    """Install with Slicer's own pip, which shows progress where it can.

    Before Slicer 5.11 the versions to keep go along as requirements, which pip finds met: the path
    of a file with them may not arrive on Windows, see `DyCONLib.launched`.
    """
    own = ((name, _version(name)) for name in BUNDLED)
    kept = [f"{name}=={version}" for name, version in own if version]
    if importlib.util.find_spec("slicer.packaging") is None:
        import slicer.util  # noqa: PLC0415 - in Slicer only

        slicer.util.pip_install([*requirements, *kept])
        return
    packaging: Any = importlib.import_module("slicer.packaging")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "constraints.txt")
        file.write_text("".join(f"{line}\n" for line in kept))
        packaging.pip_ensure(
            list(requirements), constraints=file, prompt_install=False, requester="DyCON"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"pip ended with code {error.returncode}; the Python console says why"
    return str(error).strip().split("\n")[0] or type(error).__name__
