"""Exactly the promised bytes, or the reason why not."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from dycon_engine.data.formats.decoding import decode
from dycon_engine.errors import DamagedFileError

CONTENT = bytes(range(200)) * 3
LENGTH = len(CONTENT)
PACKED = {"raw": CONTENT, "gzip": gzip.compress(CONTENT), "zlib": zlib.compress(CONTENT)}


@pytest.fixture
def decoded(tmp_path):
    def decode_as(encoding, stored, count=LENGTH, offset=0):
        (tmp_path / "a").write_bytes(stored)
        return decode(tmp_path / "a", count, encoding=encoding, offset=offset).tobytes()

    return decode_as


@pytest.mark.parametrize("encoding", PACKED)
def test_the_promised_bytes_come_back_also_behind_a_header(decoded, encoding):
    assert decoded(encoding, PACKED[encoding]) == CONTENT
    assert decoded(encoding, b"header" + PACKED[encoding], offset=6) == CONTENT


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize(
    ("difference", "text"), [(1, "is cut short"), (-1, "decodes to more|is longer")]
)
def test_a_byte_more_or_less_is_refused(decoded, encoding, difference, text):
    with pytest.raises(DamagedFileError, match=text):
        decoded(encoding, PACKED[encoding], LENGTH + difference)


@pytest.mark.parametrize("encoding", ["gzip", "zlib"])
def test_a_wrong_checksum_or_a_cut_trailer_is_refused(decoded, encoding):
    whole = PACKED[encoding]
    at = len(whole) - (8 if encoding == "gzip" else 4)
    with pytest.raises(DamagedFileError, match="checksum or code wrong"):
        decoded(encoding, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for end in range(at, len(whole)):
        with pytest.raises(DamagedFileError, match="is cut short"):
            decoded(encoding, whole[:end])


def test_members_and_padding_are_content_and_rubbish_is_not(decoded):
    whole = PACKED["gzip"]
    assert decoded("gzip", whole + bytes(5) + whole + bytes(700), 2 * LENGTH) == CONTENT * 2
    with pytest.raises(DamagedFileError, match="checksum or code wrong"):
        decoded("gzip", whole + b"rubbish")


def test_a_claim_that_cannot_be_is_refused_before_it_is_allocated(decoded, monkeypatch):
    monkeypatch.setattr(np, "empty", lambda *_arguments, **_options: pytest.fail("allocated"))
    for encoding in ("gzip", "zlib"):
        with pytest.raises(DamagedFileError, match="compressed bytes cannot hold the 1000000000"):
            decoded(encoding, PACKED[encoding], 10**9)
