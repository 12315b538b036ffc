"""B19: twelve kinds of path on consoles of three encodings: a result or one line, none lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine.data.formats.readers import read_label
from dycon_engine.data.formats.writers import write_scalar
from Testing import tiny_package

if sys.platform == "win32":
    pytest.skip("names that Windows does not allow", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "space": "two words",
    "umlaut": "M\u00fcller",
    "han": "\u60a3\u8005",
    "emoji": "\U0001f600",
    "quotes": 'O\'Neill "x"',
    "percent": "100%s%d{0}",
    "ampersand": "a & b; c $HOME",
    "long": "x" * 240,
    "trailing dot": "name.",
    "line end": "a\nb",
}
PLACES = (*NAMES, "relative", "link")
CHILD = """
import json, sys
from dycon_engine.__main__ import main
for line in json.loads(sys.argv[1]):
    code = main(line)
    sys.stderr.write(f"ended {code}\\n")
"""


def write_places(root: Path) -> list[Path]:
    """Make a folder of every kind with a scan in it; return the folders."""
    scan = tiny_package.scan(1)
    folders = [root / name for name in NAMES.values()]
    folders += [root / "relative", root / "elsewhere"]
    for folder in folders:
        folder.mkdir()
        write_scalar(folder / "scan.nii.gz", scan.array[0], scan.geometry, overwrite=False)
    (root / "link").symlink_to(folders.pop())
    return [*folders, root / "link"]


def predict_line(package: Path, folder: Path) -> list[str]:
    files = ["--input", str(folder / "scan.nii.gz"), "--output", str(folder / "out.nii.gz")]
    run = ["--run-dir", str(folder / "run"), "--device", "cpu"]
    return ["predict", "--package", str(package), *files, *run]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_kind_of_path_on_every_console(tmp_path, encoding):
    tiny_package.save(tmp_path / "tiny.dycon", partner=False)
    folders = write_places(tmp_path)
    assert len(folders) == len(PLACES) == 12
    asked = [Path("relative") if folder.name == "relative" else folder for folder in folders]
    lines = [predict_line(tmp_path / "tiny.dycon", folder) for folder in asked]
    lines += [[word.replace("scan.nii.gz", "lost.nii.gz") for word in line] for line in lines]
    result = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(lines)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    said = result.stderr.decode("utf-8").split("\n")
    assert [line for line in said if line.startswith("ended")] == ["ended 0"] * 12 + [
        "ended 2"
    ] * 12
    refusals = [line for line in said if line.startswith("DyCON: ")]
    assert len(refusals) == 12
    assert all("lost.nii.gz" in line for line in refusals)
    assert "Traceback" not in "".join(said)
    told = result.stdout.decode("utf-8")
    for folder in folders:
        assert read_label(folder / "out.nii.gz").array.shape == tiny_package.scan(1).array.shape[1:]
        for line in (folder / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines():
            assert line in told
    assert told.count('"event": "finished"') == told.count('"event": "failed"') == 12
