"""The file format of a package: a zip of three stored members that has exactly one valid form.

The writer is deterministic (fixed order, names, times and attributes, nothing compressed) and the
reader accepts only bytes that the writer would write. So a package cannot carry a path, a link, a
second file, a compressed bomb or hidden bytes, any flipped bit is noticed, and the same model gives
the same file. Members are read in memory; nothing is ever extracted to disk or unpickled.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path

from dycon_engine.errors import DamagedFileError, InputError

WEIGHTS, MODEL, CARD = "weights.safetensors", "model.json", "README.md"
MEMBERS = (CARD, MODEL, WEIGHTS)
LIMITS = {CARD: 2**20, MODEL: 2**22, WEIGHTS: 2**31 - 2**24}
LARGEST_FILE = 2**31 - 1
LARGEST_DIAGNOSED = 2**26
LONGEST_NAME = 100

_DATE = (0 << 9) | (1 << 5) | 1  # 1 January 1980, the zip format's zero
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
_VERSION = 20
_UNIX = 3 << 8
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


def pack(members: dict[str, bytes]) -> bytes:
    """Return the archive of exactly the three `MEMBERS`.

    Raises:
        InputError: A member is missing, unknown or larger than its limit.
    """
    if set(members) != set(MEMBERS):
        raise InputError(f"package: expected the members {', '.join(MEMBERS)}")
    for name in MEMBERS:
        if len(members[name]) > LIMITS[name]:
            raise InputError(
                f"package: {name} has {len(members[name])} bytes; at most {LIMITS[name]} may be"
            )
    sizes = [(name, len(members[name]), zlib.crc32(members[name])) for name in MEMBERS]
    body = b"".join(_local(*entry) + members[entry[0]] for entry in sizes)
    return body + _directory(sizes)


def unpack(path: Path) -> tuple[dict[str, memoryview], memoryview]:
    """Return the members of the package at `path`, and the whole file's bytes.

    Raises:
        InputError: The file cannot be read or is not a package.
        DamagedFileError: It is one that was damaged, repacked or forged.
    """
    data = memoryview(_read(path))
    members: dict[str, memoryview] = {}
    sizes = []
    offset = 0
    for name in MEMBERS:
        try:
            fields = _LOCAL.unpack_from(data, offset)
        except struct.error:
            raise _refusal(path, data) from None
        crc, size = fields[6], fields[8]
        header = _local(name, size, crc)
        start = offset + len(header)
        content = data[start : start + size]
        whole = data[offset:start] == header and len(content) == size <= LIMITS[name]
        if not whole or zlib.crc32(content) != crc:
            raise _refusal(path, data)
        members[name] = content
        sizes.append((name, size, crc))
        offset = start + size
    if data[offset:] != _directory(sizes):
        raise _refusal(path, data)
    return members, data


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"package '{path}': not a file; name a .dycon file")
        if status.st_size > LARGEST_FILE:
            raise InputError(
                f"package '{path}': {status.st_size} bytes; a package has at most {LARGEST_FILE}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"package '{path}': cannot be read ({error.strerror}); check the path"
        ) from None
    except ValueError:
        raise InputError(f"package '{path!s}': not a usable path; check it") from None


def _local(name: str, size: int, crc: int) -> bytes:
    fields = (b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0)
    return _LOCAL.pack(*fields) + name.encode("ascii")


def _directory(sizes: list[tuple[str, int, int]]) -> bytes:
    entries, offset = b"", 0
    for name, size, crc in sizes:
        common = (_VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0, 0, 0, 0)
        entries += _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, *common, _ATTRIBUTES, offset)
        entries += name.encode("ascii")
        offset += _LOCAL.size + len(name) + size
    count = len(sizes)
    return entries + _END.pack(b"PK\5\6", 0, 0, count, count, len(entries), offset, 0)


def _refusal(path: Path, data: memoryview) -> DamagedFileError:
    """Return the error that says, as well as can be told, what is wrong with the file."""
    return DamagedFileError(
        f"package '{path}': {_fault(data)}; nothing was loaded, get the file again from its source"
    )


def _fault(data: memoryview) -> str:
    if bytes(data[:4]) != b"PK\3\4":
        return "not a DyCON package (no zip archive)"
    if len(data) > LARGEST_DIAGNOSED:
        return "damaged or repacked"
    try:
        with _listing(data) as archive:
            entries = archive.infolist()
    except Exception as error:  # noqa: BLE001 - whatever a hostile file provokes, we only name it
        return f"damaged archive ({type(error).__name__})"
    names = [entry.filename for entry in entries]
    faults = [fault for entry in entries if (fault := _entry_fault(entry))]
    faults += [f"member '{name}' is there twice" for name in MEMBERS if names.count(name) > 1]
    faults += [f"member '{name}' is missing" for name in MEMBERS if name not in names]
    return [*faults, "damaged or repacked (not byte for byte as written)"][0]


def _listing(data: memoryview) -> zipfile.ZipFile:
    import io  # noqa: PLC0415 - only for a message

    return zipfile.ZipFile(io.BytesIO(data))


def _entry_fault(entry: zipfile.ZipInfo) -> str:
    name = entry.orig_filename
    shown = ascii(name[:LONGEST_NAME])
    kind = stat.S_IFMT(entry.external_attr >> 16)
    path_marks = ("/", "\\", ":", "..")
    checks = (
        ("\0" in name, f"member name {shown} holds a NUL character"),
        (len(name) > LONGEST_NAME, f"member name of {len(name)} characters"),
        (any(mark in name for mark in path_marks), f"member {shown} has a path in its name"),
        (kind not in (0, stat.S_IFREG), f"member {shown} is a link or a special file"),
        (name not in MEMBERS, f"unexpected member {shown}"),
        (bool(entry.flag_bits & 1), f"member {shown} is encrypted"),
        (entry.file_size > LIMITS.get(name, 0), f"member {shown} claims {entry.file_size} bytes"),
        (
            entry.compress_type != zipfile.ZIP_STORED,
            f"member {shown} is compressed ({entry.compress_size} to {entry.file_size} bytes)",
        ),
        (entry.compress_size != entry.file_size, f"member {shown} lies about its size"),
    )
    return next((text for bad, text in checks if bad), "")
