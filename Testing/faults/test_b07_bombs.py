"""B7: small files that ask for much memory or for the bytes of another file are refused.

All are read in one child process that may use 256 MiB more than it has after importing, and 2 s of
CPU per file; every file that Python opens there is noted.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest

from Testing.tiny_files import dicom_slice

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"of another patient " * 60
GIB = 2**30
CHILD = """
import json, os, resource, signal, sys
from pathlib import Path
from dycon_engine.data.formats.readers import content_hash, read_image
from dycon_engine.errors import InputError

def too_slow(*_):
    raise SystemExit("more than 2 s of CPU")

signal.signal(signal.SIGPROF, too_slow)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 256 * 2**20,) * 2)
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
result = {}
for name in json.load(sys.stdin):
    signal.setitimer(signal.ITIMER_PROF, 2)
    try:
        read_image(Path(name))
        result[name] = "READ"
    except InputError as error:
        result[name] = str(error)
signal.setitimer(signal.ITIMER_PROF, 0)
print(json.dumps([result, [path for path in opened if "secret" in path]]))
"""


def nifti_header(size, kind=16, *, second=False):
    header = (nib.Nifti2Header if second else nib.Nifti1Header)()
    header.set_data_dtype(nib.nifti1.data_type_codes.dtype[kind])
    header.set_data_shape(size)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 544 if second else 352
    header["magic"] = b"n+2" if second else b"n+1"
    content = header.binaryblock
    if second:
        content = content[:4] + b"n+2\0\r\n\x1a\n" + content[12:]
    return content + b"\0" * 4


def zeros(count, window_bits, start=b""):
    """Return `start` and then `count` MiB of zeros, in members of 64 MiB."""

    def member(data):
        packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
        return packer.compress(data) + packer.flush()

    block = member(bytes(1 << 20) * 64)
    return member(start) + block * (count // 64)


def nrrd(sizes="1024 1024 1500", encoding="raw", more=""):
    return (
        f"NRRD0004\ntype: float\ndimension: 3\nspace: LPS\nsizes: {sizes}\nspace directions: "
        f"(1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nendian: little\n"
        f"encoding: {encoding}\n{more}"
    ).encode() + (b"" if more else b"\n")


def meta(where="LOCAL", more="", sizes="1024 1024 1500"):
    return (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{more}DimSize = {sizes}\n"
        f"ElementSpacing = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = {where}\n"
    ).encode()


def write_hdf5(folder, secret):
    def make(name):
        path = folder / name
        made.append(path)
        return h5py.File(path, "w")

    made: list[Path] = []
    with make("chunked.h5") as file:
        file.create_dataset("image", (5000, 5000, 2000), "f8", chunks=(50, 50, 20))
    with make("contiguous.h5") as file:
        file.create_dataset("image", (5000, 5000, 2000), "f8")
    with make("giant_chunk.h5") as file:
        file.create_dataset(
            "image", (8, 8, 8), "u1", chunks=(1024, 1024, 1024), maxshape=(None,) * 3
        )
    with make("external.h5") as file:
        file.create_dataset("image", (8, 8, 8), "u1", external=[(str(secret), 0, 512)])
    with h5py.File(folder / "secret.h5", "w") as file:
        file["image"] = np.ones((8, 8, 8))
    with make("virtual.h5") as file:
        layout = h5py.VirtualLayout((8, 8, 8), "f8")
        layout[:] = h5py.VirtualSource("secret.h5", "image", (8, 8, 8))
        file.create_virtual_dataset("image", layout)
    with make("link.h5") as file:
        file["image"] = h5py.ExternalLink("secret.h5", "/image")
    return made


def crafted(folder: Path) -> list[Path]:
    secret = folder / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(SECRET)
    inside = folder / "data"
    inside.mkdir()
    (inside / "secret_link").symlink_to(secret)
    big, tiny = nifti_header((1024, 1024, 1500)), nifti_header((8, 8, 8))
    files = {
        "claims.nii": big + b"\0" * 100,
        "claims2.nii": nifti_header((1024, 1024, 1500), second=True),
        "claims.nii.gz": gzip.compress(big + b"\0" * 100),
        "two_gib.nii.gz": zeros(2048, 31, nifti_header((1024, 1024, 2048), 2)),
        "more_than_said.nii.gz": zeros(2048, 31, tiny),
        "far_offset.nii": tiny[:108] + struct.pack("<f", 1e9) + tiny[112:],
        "claims.nrrd": nrrd(),
        "claims_gzip.nrrd": nrrd(encoding="gzip") + gzip.compress(b"\0" * 999),
        "two_gib.nrrd": nrrd("1024 1024 512", "gzip") + zeros(2048, 31),
        "claims.mha": meta(),
        "claims_zlib.mha": meta(more="CompressedData = True\n") + zlib.compress(b"\0" * 999),
        "more_than_said.mha": meta(more="CompressedData = True\n", sizes="8 8 8")
        + zlib.compress(bytes(1 << 26)),
        "absolute.mhd": meta(str(secret), sizes="8 8 8"),
        "parent.mhd": meta("../elsewhere/secret", sizes="8 8 8"),
        "link.mhd": meta("secret_link", sizes="8 8 8"),
        "list.mhd": meta("LIST", sizes="8 8 8") + str(secret).encode(),
        "pattern.mhd": meta("../elsewhere/secre%c 116 116 1", sizes="8 8 8"),
        "absolute.nrrd": nrrd("4 8 8", more=f"data file: {secret}\n"),
        "parent.nrrd": nrrd("4 8 8", more="datafile: ../elsewhere/secret\n"),
        "link.nrrd": nrrd("4 8 8", more="data file: secret_link\n"),
        "list.nrrd": nrrd("4 8 8", more=f"data file: LIST\n{secret}\n"),
    }
    for name, content in files.items():
        (inside / name).write_bytes(content)
    (inside / "dicom").mkdir()
    slice_ = dicom_slice(np.zeros((8, 8), np.int16), 0, Rows=60000, Columns=60000)
    pydicom.dcmwrite(inside / "dicom" / "a.dcm", slice_)
    return [*(inside / name for name in files), *write_hdf5(inside, secret), inside / "dicom"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs memory limits of Linux")
def test_crafted_files_are_refused_quickly_and_in_little_memory(tmp_path):
    paths = crafted(tmp_path)
    assert len(paths) >= 18
    assert max(path.stat().st_size for path in paths) < 3 * 2**20
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    verdicts, opened = json.loads(child.stdout.splitlines()[-1])
    assert {name for name, verdict in verdicts.items() if verdict == "READ"} == set()
    for name, verdict in verdicts.items():
        assert name in verdict
        assert len(verdict.splitlines()) == 1
    assert opened == []
