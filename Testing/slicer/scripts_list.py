"""What Slicer installs: every file of a package or module, as its CMakeLists.txt must list it.

`python Testing/slicer/scripts_list.py --write` brings the lists up to date; without --write it says
what differs. A file that is not listed is not in the extension.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dycon_engine", "DyCONLib")
MODULES = ("DyCONSegmentation", "DyCONTraining")
LEFT_OUT = ("CMakeLists.txt", ".md", ".pyc", ".svg")
SKIPPED = ("__pycache__", "Testing")


class Lists(NamedTuple):
    """Paths relative to the folder: Python files, and everything else that is installed."""

    scripts: tuple[str, ...]
    resources: tuple[str, ...]


def in_tree(folder: str, root: Path = ROOT) -> Lists:
    """Return the files that lie in a package or module."""
    base = root / folder
    files = sorted(
        path.relative_to(base)
        for path in base.rglob("*")
        if path.is_file()
        and not path.name.endswith(LEFT_OUT)
        and not path.name.startswith(".")
        and not set(SKIPPED) & set(path.relative_to(base).parts)
    )
    scripts = tuple(path.as_posix() for path in files if path.suffix == ".py")
    return Lists(scripts, tuple(path.as_posix() for path in files if path.suffix != ".py"))


def in_cmake(folder: str, root: Path = ROOT) -> Lists:
    """Return the files that the CMakeLists.txt of a package or module lists."""
    text = (root / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    name = re.search(r"set\(MODULE_NAME (\w+)\)", text)

    def listed(kind: str) -> tuple[str, ...]:
        found = re.search(rf"set\(MODULE_PYTHON_{kind}\n(.*?)\n?  \)", text, re.DOTALL)
        body = found.group(1) if found else ""
        return tuple(body.replace("${MODULE_NAME}", name.group(1) if name else "").split())

    return Lists(listed("SCRIPTS"), listed("RESOURCES"))


def write(folder: str, root: Path = ROOT) -> None:
    """Write the lists of what lies in the tree into the CMakeLists.txt."""
    path = root / folder / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    for kind, files in zip(("SCRIPTS", "RESOURCES"), in_tree(folder, root), strict=True):
        body = "".join(f"  {file}\n" for file in files)
        new = f"set(MODULE_PYTHON_{kind}\n{body}  )"
        text = re.sub(rf"set\(MODULE_PYTHON_{kind}\n.*?  \)", new, text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8", newline="\n")


def differences(folder: str, root: Path = ROOT) -> list[str]:
    """Return one line per file that is listed or there, but not both."""
    lines = []
    for have, want in zip(in_cmake(folder, root), in_tree(folder, root), strict=True):
        lines += [f"{folder}/{name}: not in CMakeLists.txt" for name in sorted({*want} - {*have})]
        lines += [f"{folder}/{name}: listed, not there" for name in sorted({*have} - {*want})]
        lines += [f"{folder}/{name}: listed twice" for name in {*have} if have.count(name) > 1]
    return lines


def main() -> int:
    """Write the lists, or say what differs."""
    if "--write" in sys.argv[1:]:
        for folder in (*PACKAGES, *MODULES):
            write(folder)
    found = [line for folder in (*PACKAGES, *MODULES) for line in differences(folder)]
    print("\n".join(found) or "the lists are complete")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
