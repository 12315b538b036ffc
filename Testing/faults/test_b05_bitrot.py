"""B5, reader part: a flipped bit in a compressed scan is refused by its checksum."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_image
from dycon_engine.errors import DamagedFileError

FLIPS = 100
WRAPPER = 10  # time stamp, system: nothing of the scan


@pytest.fixture
def smooth_scan(tmp_path):
    z, y, x = np.indices((24, 48, 48))
    noise = np.random.default_rng(0).normal(0, 20, z.shape)
    array = (400 + 200 * np.sin(z / 5) * np.cos(y / 7) * np.sin(x / 6) + noise).astype(np.int16)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4)), path)
    return path


def test_every_flipped_bit_is_refused(smooth_scan):
    whole = smooth_scan.read_bytes()
    rng = np.random.default_rng(5)
    silent = 0
    for place in rng.integers(WRAPPER, len(whole), FLIPS):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        smooth_scan.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=r"scan\.nii\.gz"):
            read_image(smooth_scan)
        try:
            nib.load(smooth_scan).get_fdata()
            silent += 1
        except Exception:  # noqa: BLE001, S110 - whatever that reader says
            pass
    assert silent > FLIPS // 4, "the damage was too easy to see: nothing was shown"


def test_a_zeroed_page_and_a_wrong_checksum_are_refused(smooth_scan):
    whole = smooth_scan.read_bytes()
    middle = len(whole) // 2
    for start, patch in ((middle, b"\0" * 4096), (len(whole) - 8, b"\x12\x34\x56\x78")):
        smooth_scan.write_bytes(whole[:start] + patch + whole[start + len(patch) :])
        with pytest.raises(DamagedFileError):
            read_image(smooth_scan)
