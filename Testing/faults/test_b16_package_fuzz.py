"""B16: 500 mutated and crafted packages; nothing runs, nothing is written, each refused in a line.

A mutant that happens to be the valid file again does not count; all others must be refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import stat
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from dycon_engine.errors import DyconError
from dycon_engine.package import load_package
from dycon_engine.package.archive import CARD, MEMBERS, MODEL, WEIGHTS, pack
from Testing import tiny_package

MUTANTS = 500
CANARY = "canary.txt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("b16")


@pytest.fixture(scope="module")
def valid(folder) -> bytes:
    tiny_package.save(folder / "valid.dycon", partner=False)
    content = (folder / "valid.dycon").read_bytes()
    (folder / "valid.dycon").unlink()
    return content


@pytest.fixture
def refused(folder, monkeypatch):
    """Load bytes as a package: refused in one line, the folder as before, nothing unpickled."""
    monkeypatch.chdir(folder)

    def unpickled(*_arguments, **_options):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", unpickled)
    monkeypatch.setattr(pickle, "load", unpickled)

    def check(content: bytes) -> str:
        path = folder / "mutant.dycon"
        path.write_bytes(content)
        with pytest.raises(DyconError) as no:
            load_package(path)
        message = str(no.value)
        assert "\n" not in message
        assert "mutant.dycon" in message
        assert len(message) < 1000
        assert [item.name for item in folder.iterdir()] == ["mutant.dycon"]
        return message

    return check


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in MEMBERS}


def zipped(entries, compression=zipfile.ZIP_STORED) -> bytes:
    """A zip as any program would write it, of (name or ZipInfo, content)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def mutated(content: bytes, generator: random.Random) -> bytes:
    data = bytearray(content)
    kind = generator.randrange(7)
    at = generator.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << generator.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + generator.randrange(1, 64)]
    elif kind == 3:
        data[at:at] = generator.randbytes(generator.randrange(1, 64))
    elif kind == 4:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == 5:
        end = at + generator.randrange(1, 512)
        data[at:at] = data[at:end]
    else:  # aim at headers: the first and the last bytes
        at = generator.choice((at % 64, len(data) - 1 - at % 200))
        data[at] = generator.randrange(256)
    return bytes(data)


def test_the_valid_one_loads(valid, folder):
    path = folder / "valid.dycon"
    path.write_bytes(valid)
    assert load_package(path).info.classes == 2
    path.unlink()


def test_every_mutant_is_refused(valid, refused):
    generator = random.Random(16)
    tried = 0
    while tried < MUTANTS:
        mutant = mutated(valid, generator)
        if mutant != valid:
            refused(mutant)
            tried += 1


def test_every_flipped_bit_of_the_headers_is_refused(valid, refused):
    places = [*range(30), *range(len(valid) - 60, len(valid))]
    for at in places:
        data = bytearray(valid)
        data[at] ^= 1 << (at % 8)
        refused(bytes(data))


class Bomb:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return (open, (CANARY, "w"))


def info(name: str, *, attributes: int = 0o644 << 16) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = attributes
    return entry


LINK = (stat.S_IFLNK | 0o777) << 16
HEX64 = b"weights_sha256"


def crafted_archives():
    def extra(name):
        return lambda valid: zipped([*members(valid).items(), (name, b"x")])

    def swapped(old, new, content=None):
        def craft(valid):
            items = [
                (new if name == old else name, data if content is None or name != old else content)
                for name, data in members(valid).items()
            ]
            return zipped(items)

        return craft

    yield "parent", extra("../outside.txt"), "path in its name"
    yield "absolute", extra("/tmp/outside.txt"), "path in its name"
    yield "drive", extra("C:evil"), "path in its name"
    yield "backslash", extra("..\\evil"), "path in its name"
    yield "folder", extra("folder/"), "path in its name"
    yield "extra", extra("notes.txt"), "unexpected member 'notes.txt'"
    yield "extra pickle", extra("data.pkl"), "unexpected member"
    yield "case", extra("MODEL.json"), "unexpected member 'MODEL.json'"
    yield "reserved", extra("NUL"), "unexpected member"
    yield "long", extra("a" * 300), "300 characters"
    yield "duplicate", lambda v: zipped([*members(v).items(), (MODEL, b"{}")]), "there twice"
    yield "symlink", swapped(MODEL, info(MODEL, attributes=LINK), b"/etc/passwd"), "a link"
    yield "device", swapped(MODEL, info(MODEL, attributes=stat.S_IFCHR << 16)), "special file"
    yield "missing", lambda v: zipped(list(members(v).items())[1:]), "is missing"
    yield "empty zip", lambda _v: zipped([]), "package"
    yield "nul", lambda v: v.replace(b"model.json", b"model.j\0on"), "NUL"
    yield "deflated", lambda v: zipped(members(v).items(), zipfile.ZIP_DEFLATED), "is compressed"
    yield "bomb", bomb, "is compressed"
    yield "huge claim", lambda v: lying(v, 2**32 - 2), "claims"
    yield "lying size", lambda v: lying(v, 64), "package"
    yield "repacked", lambda v: zipped(members(v).items()), "not byte for byte"
    yield "prepended", lambda v: b"#!/bin/sh\n" + v, "no zip archive"
    yield "appended", lambda v: v + b"more", "not byte for byte"
    yield "comment", lambda v: v[:-2] + b"\4\0more", "not byte for byte"
    yield "encrypted", encrypted, "encrypted"
    yield "pickle", lambda _v: pickle.dumps(Bomb()), "no zip archive"
    yield "torch zip", torch_zip, "path in its name"
    yield "tar with a hard link", tar, "no zip archive"
    yield "nothing", lambda _v: b"", "no zip archive"


def bomb(valid: bytes) -> bytes:
    return zipped([*members(valid).items(), (WEIGHTS, bytes(10**7))], zipfile.ZIP_DEFLATED)


def lying(valid: bytes, size: int) -> bytes:
    """The central directory claims another size for the weights."""
    data = bytearray(valid)
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def encrypted(valid: bytes) -> bytes:
    data = bytearray(valid)
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def torch_zip(_valid: bytes) -> bytes:
    return zipped([("archive/data.pkl", pickle.dumps(Bomb())), ("archive/version", b"3")])


def tar(_valid: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("model.json")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("craft", "words"),
    [pytest.param(craft, words, id=name) for name, craft, words in crafted_archives()],
)
def test_crafted_archives_are_refused(valid, refused, craft, words):
    content = craft(valid)
    assert content != valid
    assert words in refused(content)


def remade(valid: bytes, *, model=None, weights=None, rehash: bool = True) -> bytes:
    """A package in the one valid form, with other content and (mostly) matching hashes."""
    parts = members(valid)
    parts[WEIGHTS] = parts[WEIGHTS] if weights is None else weights(parts[WEIGHTS])
    table = json.loads(parts[MODEL])
    if rehash:
        table["weights_sha256"] = hashlib.sha256(parts[WEIGHTS]).hexdigest()
    if model is not None:
        table = model(table)
    parts[MODEL] = table if isinstance(table, bytes) else json.dumps(table).encode()
    return pack(parts)


def changed(**values):
    return lambda table: table | values


def header(change):
    """Change the safetensors header of the weights."""

    def apply(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        table = change(json.loads(content[8 : 8 + length]))
        text = table if isinstance(table, bytes) else json.dumps(table).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return apply


def first(**values):
    def change(table):
        name = sorted(set(table) - {"__metadata__"})[0]
        return table | {name: table[name] | values}

    return change


def poisoned(content: bytes) -> bytes:
    return content[:-4] + np.float32(np.nan).tobytes()


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"

CRAFTED_CONTENT = [
    ("wrong hash", {"model": changed(weights_sha256="0" * 64)}, "sha256 differs"),
    ("hash is no hash", {"model": changed(weights_sha256="../x")}, "not a sha256"),
    ("other weights", {"weights": lambda w: w[:-1] + b"x", "rehash": False}, "sha256 differs"),
    ("no manifest fields", {"model": lambda _t: {}}, "missing"),
    ("extra field", {"model": changed(run="import os")}, "'run' is missing, unknown"),
    ("deep JSON", {"model": lambda _t: DEEP}, "nested deeper"),
    ("huge int", {"model": lambda _t: b'{"a": ' + b"9" * 9999 + b"}"}, "out of range"),
    ("NaN", {"model": lambda _t: b'{"a": NaN}'}, "NaN is not a number"),
    ("infinity", {"model": lambda _t: b'{"a": 1e999}'}, "out of range"),
    ("twice", {"model": lambda _t: b'{"a": 1, "a": 2}'}, "there twice"),
    ("not JSON", {"model": lambda _t: b"\x80\x04cos\nsystem\n."}, "not usable JSON"),
    ("a list", {"model": lambda _t: b"[]"}, "expected a JSON object"),
    ("deep network", {"model": changed(network={"filters": [8000] * 9})}, "no multiple"),
    ("wide network", {"model": changed(network={"filters": [8000] * 3})}, "weights.safetensors"),
    ("absurd filters", {"model": changed(network={"filters": [4, 10**12]})}, "absurd"),
    ("unknown network", {"model": changed(network={"name": "os.system"})}, "known"),
    ("absurd patch", {"model": changed(patch_size=[10**6] * 3)}, "absurd patch"),
    ("zero patch", {"model": changed(patch_size=[0, 8, 8])}, "absurd patch"),
    ("no labels", {"model": changed(labels=[])}, "0 labels"),
    ("text for a number", {"model": changed(patch_size=["8", "8", "8"])}, "str where int"),
    ("terminal codes", {"model": changed(channels=["\x1b]0;x\x07"])}, "control"),
    ("newer format", {"model": changed(format_version=9)}, "install a newer engine"),
    ("format of a text", {"model": changed(format_version="1")}, "format_version"),
    ("absurd temperature", {"model": changed(calibration={"temperature": 0.0, "ece_before": None,
      "ece_after": None, "risk_coverage": []})}, "absurd temperature"),
    ("header too long", {"weights": lambda w: b"\xff" * 8 + w[8:]}, "header does not fit"),
    ("tensor added", {"weights": header(lambda t: t | {"x": {}})}, "unexpected"),
    ("empty tensor added", {"weights": header(lambda t: t | {"x": EMPTY})}, "unexpected"),
    ("tensor missing", {"weights": header(lambda t: dict(list(t.items())[1:]))}, "missing"),
    ("tensor shape", {"weights": header(first(shape=[10**9, 10**9]))}, "expected"),
    ("tensor dtype", {"weights": header(first(dtype="F64"))}, "expected"),
    ("tensor offsets", {"weights": header(first(data_offsets=[0, 10**12]))}, "unreadable"),
    ("tensor is text", {"weights": header(lambda t: dict.fromkeys(t, "x"))}, "expected"),
    ("header deep", {"weights": header(lambda _t: DEEP)}, "nested deeper"),
    ("bytes left over", {"weights": lambda w: w + bytes(64)}, "more or less"),
    ("not finite", {"weights": poisoned}, "NaN or infinity"),
    ("a pickle", {"weights": lambda _w: pickle.dumps([1])}, "header does not fit"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [pytest.param(changes, words, id=name) for name, changes, words in CRAFTED_CONTENT],
)
def test_crafted_content_in_a_perfect_archive_is_refused(valid, refused, changes, words):
    assert words in refused(remade(valid, **changes))


def test_a_remade_package_without_changes_is_fine(valid, folder):
    path = folder / "valid.dycon"
    path.write_bytes(remade(valid))
    assert load_package(path).info.classes == 2
    path.unlink()


def test_an_oversized_member_is_refused_before_its_bytes_are_looked_at(refused):
    size = 2**31
    name = CARD.encode()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, size, size, len(name), 0)
    refused(local + name + b"x" * 100)


def test_zlib_agrees_with_the_archive(valid):
    assert valid.startswith(b"PK\3\4")
    assert zlib.crc32(members(valid)[CARD]) == struct.unpack_from("<I", valid, 14)[0]
