"""B6: mutated headers read with a consistent finite grid, or give one line; never anything else.

All mutants of a format are read in one child process with limits, so that a crash or a hang of a
C library is seen as such: more than 10 s of CPU, or five minutes without an end, kill it. Processor
time is what counts, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_header
from dycon_engine.errors import InputError
from Testing.tiny_files import scan

ROOT = Path(__file__).resolve().parents[2]
FORMATS = {"nii": 352, "nii.gz": 352, "nrrd": 460, "mha": 420, "h5": 8000, "dicom": 1200}
NASTY = (b"-1", b"0", b"1e300", b"nan", b"inf", b"99999999999", b"", b"(", b"\xff", b"65535")
CHILD = """
import json, resource, signal, sys, traceback
import numpy as np
from pathlib import Path
from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import DyconError

held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2 * 2**30,) * 2)
verdicts = {"read": 0, "refused": 0, "wrong": []}
for line in sys.stdin:
    target, holder, mutant = (Path(name) for name in json.loads(line))
    holder.write_bytes(mutant.read_bytes())
    print("at", mutant.name, flush=True)
    signal.setitimer(signal.ITIMER_PROF, 10)
    signal.alarm(300)
    try:
        header = read_header(target)
        volume = read_image(target)
    except DyconError as error:
        verdicts["refused"] += 1
        message = str(error)
        if target.stem not in message or not message.isprintable() or error.exit_code != 2:
            verdicts["wrong"].append([mutant.name, message])
    except Exception:
        verdicts["wrong"].append([mutant.name, traceback.format_exc()])
    else:
        verdicts["read"] += 1
        grid = volume.geometry
        if not (
            volume.array.shape == (header.channels, *grid.size_zyx)
            and np.isfinite(volume.array).all() and np.isfinite(grid.affine).all()
            and min(grid.spacing_mm) > 0 and grid.voxel_mm3 > 0
        ):
            verdicts["wrong"].append([mutant.name, f"{volume.array.shape} {grid}"])
print(json.dumps(verdicts))
"""


def mutate(whole: bytes, end: int, rng: np.random.Generator) -> bytes:
    """Return `whole` with its first `end` bytes changed in one to six ways."""
    head, tail = bytearray(whole[:end]), whole[end:]
    for _ in range(int(rng.integers(1, 7))):
        place = int(rng.integers(len(head)))
        way = rng.integers(5)
        if way == 0:
            head[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            head[place] = int(rng.integers(256))
        elif way == 2:
            head[place : place + 4] = rng.bytes(4)
        elif way == 3:
            numbers = list(re.finditer(rb"[-\d.]+", head))
            match = numbers[int(rng.integers(len(numbers)))] if numbers else None
            if match:
                head[slice(*match.span())] = NASTY[int(rng.integers(len(NASTY)))]
        else:
            size = int(rng.integers(1, 9))
            head[place : place + size] = [b"\0", b"\xff", b"\x7f"][int(rng.integers(3))] * size
    return bytes(head) + tail


def run(folder: Path, kind: str, count: int) -> dict:
    target, holder = scan(folder, kind)
    whole = holder.read_bytes()
    if kind == "nii.gz":
        whole = gzip.decompress(whole)
    rng = np.random.default_rng(len(kind))
    jobs = []
    for number in range(count):
        content = mutate(whole, min(FORMATS[kind], len(whole)), rng)
        mutant = folder / f"mutant{number:03d}"
        mutant.write_bytes(gzip.compress(content, 1) if kind == "nii.gz" else content)
        jobs.append(json.dumps([str(target), str(holder), str(mutant)]))
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        input="\n".join(jobs),
        capture_output=True,
        text=True,
        check=False,
    )
    report = "\n".join(child.stdout.splitlines()[-2:]) + child.stderr[-3000:]
    assert child.returncode == 0, f"{kind} ended with {child.returncode}: {report}"
    assert not child.stderr, f"said besides: {child.stderr[-3000:]}"
    verdicts = json.loads(child.stdout.splitlines()[-1])
    assert verdicts["wrong"] == []
    assert len(jobs) == verdicts["read"] + verdicts["refused"] == count
    return verdicts


@pytest.mark.skipif(sys.platform != "linux", reason="needs memory limits of Linux")
@pytest.mark.parametrize("kind", FORMATS)
def test_mutants_read_consistently_or_give_one_line(tmp_path, kind):
    verdicts = run(tmp_path, kind, 50)
    assert verdicts["refused"] >= 5, "the mutants hit nothing"


def test_a_header_cannot_write_to_the_terminal(tmp_path):
    """Line ends and escape sequences of a damaged header are shown, not obeyed."""
    path, _ = scan(tmp_path, "nrrd")
    evil = b"\na\x1b[2J\x0b\xc2\x85DyCON - all is well\ntype"
    path.write_bytes(path.read_bytes().replace(b"\ntype", evil, 1))
    with pytest.raises(InputError, match=r"\\x1b\[2J\\x0b\\x85DyCON") as caught:
        read_header(path)
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="needs memory limits of Linux")
@pytest.mark.parametrize("kind", FORMATS)
def test_500_mutants(tmp_path, kind):
    run(tmp_path, kind, 500)
