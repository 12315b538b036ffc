"""The Python of the tutorial for the terminal runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dycon_engine.data.formats.readers import read_image
from dycon_engine.data.formats.writers import write_scalar
from Testing import tiny_package

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "shell.md"


def test_every_example_of_the_tutorial_runs(tmp_path, monkeypatch):
    section = TUTORIAL.read_text(encoding="utf-8").partition("## 10. From Python")[2]
    commands, arrays = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    tiny_package.save(tmp_path / "my-organ.dycon")
    scan = tiny_package.scan(1)
    write_scalar(tmp_path / "scan.nii.gz", scan.array[0], scan.geometry, overwrite=False)
    names: dict = {}
    exec(commands, names)  # noqa: S102 - our own document
    assert names["code"] == 0
    assert read_image(tmp_path / "mask.nii.gz").array.shape == scan.array.shape
    exec(arrays, names)  # noqa: S102 - our own document
    found, array = names["found"], names["array"]
    assert found.labels.shape == array.shape[1:] == (40, 64, 64)
    assert found.uncertainty.dtype == np.float32
    assert found.geometry.spacing_mm == (2.0, 0.8, 0.8)
    assert isinstance(found.flags, tuple)
