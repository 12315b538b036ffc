"""Names that look like HTML are shown as they are."""

from __future__ import annotations

import html
import re

import pytest

from DyCONLib.literal import as_tip


@pytest.mark.parametrize("text", ["", "case-001", "a & b", "x > 5 mm\nsecond line", "5 &lt; 6"])
def test_what_qt_shows_as_it_is_stays_as_it_is(text):
    assert as_tip(text) == text


@pytest.mark.parametrize(
    "text",
    ["CT <5 mm>", '<img src="//10.0.0.5/x.png">', "a<b>c\nd &amp; e", "<qt><script>", "</qt><b>"],
)
def test_whatever_could_be_html_is_escaped_whole(text):
    shown = as_tip(text)
    assert set(re.findall(r"<[^>]*>", shown)) <= {"<qt>", "</qt>", "<br>"}
    inside = shown.removeprefix("<qt>").removesuffix("</qt>").replace("<br>", "\n")
    assert "<" not in inside
    assert html.unescape(inside) == text
