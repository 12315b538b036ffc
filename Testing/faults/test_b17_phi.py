"""B17: twelve planted tokens of identity; none comes out in any artefact, log or message.

Planted: in folder and file names of the data, in the environment, and in every free field of the
formats. Searched: everything below the run folder and the results (contents, unpacked where packed,
and names), stdout and stderr of every command. The one place where a scan's name belongs are
`split.json`, which freezes who is in which part of the data, and the name of an output file. What
is wrong with the data names the scan to whoever mends it, on stderr and in `events.jsonl`; in
`log.txt`, which is passed on, it has no name.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from dycon_engine.data.formats.writers import write_scalar
from Testing import tiny_package, whole_job

TOKENS = [f"PHI{number:02d}QX" for number in range(1, 13)]
FOLDER, NAME, MRN, DESCRIP, AUX, INTENT, KEY, COMMENT, ATTRIBUTE, USER, HOME, BIRTH = TOKENS
KNOWS_NAMES = ("split.json",)
STOP_AFTER_TWO = """
from dycon_engine.jobs.reporter import Reporter
emit = Reporter.emit
def stop(self, event):
    emit(self, event)
    if event.kind == "step" and event.step == 2:
        self.cancel()
Reporter.emit = stop
"""


def plant_nifti(path: Path) -> None:
    """Write the tokens into descrip, aux_file and intent_name of a .nii.gz header."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    for offset, length, token in ((148, 80, DESCRIP), (228, 24, AUX), (328, 16, INTENT)):
        data[offset : offset + length] = struct.pack(f"{length}s", token.encode())
    path.write_bytes(gzip.compress(bytes(data)))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Train, stop, resume, segment four formats, report, rank: outputs and what was said."""
    data = tmp_path_factory.mktemp("data") / FOLDER
    root = tmp_path_factory.mktemp("out")
    names = [f"{NAME}_{MRN}_{letter}" for letter in "abcde"]
    whole_job.write_data(data, names, labeled=4)
    for path in data.rglob("*.nii.gz"):
        plant_nifti(path)
    scans = inputs(data / "more")
    run = root / "run"
    who = {"USER": USER, "LOGNAME": USER, "USERNAME": USER, "HOME": f"/home/{HOME}"}
    line = whole_job.train_line(data, run)
    first = whole_job.run([line], code=STOP_AFTER_TWO, **who)
    assert first.returncode == 3, first.stderr
    package = ["--package", str(run / "package" / "last.dycon"), "--device", "cpu"]
    lines = [[*line, "--resume"]]
    for number, scan in enumerate(scans):
        out = root / f"result{number}"
        lines.append(
            ["predict", *package, "--input", str(scan), "--output", f"{out}.nrrd",
             "--uncertainty", f"{out}-u.nii.gz", "--probabilities", f"{out}-p.mha",
             "--report", f"{out}.json", "--run-dir", str(root / f"run{number}"),
             "--spacing", "1", "1", "1"]
        )  # fmt: skip
    second = whole_job.run(lines, **who)
    assert second.returncode == 0, second.stderr
    return root, first.stdout + first.stderr + second.stdout + second.stderr


def inputs(folder: Path) -> list[Path]:
    """Scans in four formats, tokens in every free field."""
    folder.mkdir()
    scan = tiny_package.scan(9, size=whole_job.SIZE)
    paths = [folder / f"{NAME}{suffix}" for suffix in (".nii.gz", ".nrrd", ".mha", ".h5")]
    for path, metadata in zip(paths[:3], ({}, {KEY: COMMENT}, {KEY: BIRTH}), strict=True):
        write_scalar(path, scan.array[0], scan.geometry, overwrite=False, metadata=metadata)
    plant_nifti(paths[0])
    with h5py.File(paths[3], "w") as file:
        file["image"] = np.asarray(scan.array[0])
        file.attrs["PatientID"] = ATTRIBUTE
    return paths


def contents(path: Path) -> bytes:
    """The file's bytes, with everything packed inside unpacked too."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data += gzip.decompress(data)
    if data[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    at = data.find(b"\n\n")
    if data[:4] == b"NRRD" and data[at + 2 : at + 4] == b"\x1f\x8b":
        data += gzip.decompress(data[at + 2 :])
    return data


def test_the_tokens_are_where_they_were_planted(job, tmp_path):
    paths = inputs(tmp_path / "again")
    planted = "".join(path.name for path in paths).encode() + b"".join(map(contents, paths))
    for token in (NAME, DESCRIP, AUX, INTENT, KEY, COMMENT, BIRTH, ATTRIBUTE):
        assert token.encode() in planted, token


def test_no_token_in_any_file(job):
    root, _ = job
    files = [path for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".dycon" for path in files)
    assert any(path.name == "events.jsonl" for path in files)
    hits = [
        (str(path.relative_to(root)), token)
        for path in files
        if path.name not in KNOWS_NAMES
        for token in TOKENS
        if token.encode() in contents(path) or token in str(path.relative_to(root))
    ]
    assert hits == []


def test_no_token_in_what_was_said(job):
    _, said = job
    assert [token for token in TOKENS if token in said] == []
    assert '"event": "finished"' in said


def test_the_list_of_exceptions_is_short_and_true(job):
    root, _ = job
    holders = {path.name for path in root.rglob("*") if path.is_file()} & set(KNOWS_NAMES)
    tokens = {t for name in holders for p in root.rglob(name) for t in TOKENS if t in p.read_text()}
    assert tokens <= {NAME, MRN}


@pytest.mark.parametrize("fault", ["label without a scan", "scan that is damaged"])
def test_what_is_wrong_with_the_data_names_scans_to_the_person_and_not_in_the_log(tmp_path, fault):
    data, run = tmp_path / FOLDER / "scans", tmp_path / FOLDER / "run"
    whole_job.write_data(data, [f"{NAME}_{MRN}_{letter}" for letter in "abcd"], labeled=3)
    run.mkdir()  # as a panel does
    stray = f"{NAME}_{BIRTH}"
    if fault == "scan that is damaged":
        (data / "images" / f"{NAME}_{MRN}_a.nii.gz").write_bytes(b"\x1f\x8bnonsense")
    else:
        label = data / "labels" / f"{NAME}_{MRN}_a.nii.gz"
        (label.parent / f"{stray}.nii.gz").write_bytes(label.read_bytes())
    job = whole_job.run([whole_job.train_line(data, run)], code=STOP_AFTER_TWO)
    assert job.returncode == (2 if fault == "scan that is damaged" else 3), job.stderr
    name = f"{NAME}_{MRN}_a" if fault == "scan that is damaged" else stray
    assert name in job.stderr
    assert name in (run / "events.jsonl").read_text()
    assert FOLDER not in job.stdout + job.stderr
    log = (run / "log.txt").read_text()
    assert "'name 1'" in log
    assert [token for token in TOKENS if token in log] == []
    events = (run / "events.jsonl").read_text()
    assert [token for token in TOKENS if token in events] == [NAME, BIRTH if stray == name else MRN]
