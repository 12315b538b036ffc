"""B4: a file cut anywhere is refused, in every format."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.readers import content_hash, read_image
from dycon_engine.errors import InputError
from Testing.tiny_files import KINDS, scan, voxels

CUTS = 50


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused_in_one_line_naming_the_file(tmp_path, kind):
    path, holder = scan(tmp_path, kind)
    whole = holder.read_bytes()
    offset = 1000 if kind == "dicom" else 0
    np.testing.assert_array_equal(read_image(path).array[0] + offset, voxels())
    cuts = np.unique(np.linspace(0, len(whole) - 1, CUTS).astype(int))
    assert len(cuts) == CUTS
    for cut in cuts:
        holder.write_bytes(whole[:cut])
        for read in (read_image, content_hash):
            with pytest.raises(InputError) as caught:
                read(path)
            assert path.stem in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["nii", "nrrd", "mha", "gzip.nrrd", "nii.gz", "zlib.mha"])
def test_bytes_too_many_are_refused_too(tmp_path, kind):
    path, holder = scan(tmp_path, kind)
    holder.write_bytes(holder.read_bytes() + b"\x01\x02")
    with pytest.raises(InputError):
        read_image(path)
