"""The check that every format shares before it allocates."""

from __future__ import annotations

import pytest

from dycon_engine.data.formats import stored
from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import InputError
from Testing.tiny_files import KINDS, scan, voxels


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated(
    tmp_path, monkeypatch, kind
):
    path, _ = scan(tmp_path, kind)
    needed = voxels().size * 12  # what the survey takes of a labeled scan
    monkeypatch.setattr(stored, "physical_memory", lambda: needed / stored.MEMORY_SHARE + 1)
    assert read_image(path).array.size == voxels().size
    monkeypatch.setattr(stored, "physical_memory", lambda: needed / stored.MEMORY_SHARE - 9)
    with pytest.raises(InputError, match=r"GiB in memory.*crop or resample"):
        read_image(path)
    assert kind == "h5" or read_header(path).channels == 1  # a header costs nothing
