"""The digest of the engine's source: it changes with what computes numbers, and with no more."""

from __future__ import annotations

import pytest

from dycon_engine.sources import DIGITS, ENGINE, LAYERS, source_digest

SOURCE = '''"""A module.

    With an indented formula.
"""

import math


class Loss:
    """A class."""

    def forward(self, power):
        """Return it."""
        return power**2  # squared


def name():
    """Return a name: all of this function."""
'''


@pytest.fixture
def digest(tmp_path):
    """Return a function that makes a small engine with one file changed, and its digest."""

    def made(name="", old="", new="", *, module="part.py"):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for layer in (*LAYERS, "demo.py"):
            path = folder / (layer if layer.endswith(".py") else f"{layer}/{module}")
            path.parent.mkdir(parents=True, exist_ok=True)
            assert old in SOURCE
            path.write_bytes((SOURCE.replace(old, new) if layer == name else SOURCE).encode())
        return source_digest(folder)

    return made


def test_it_is_short_and_of_files_that_are_there():
    assert len(source_digest()) == DIGITS
    assert int(source_digest(), 16)
    assert all((ENGINE / layer).exists() for layer in LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_code_of_every_layer_changes_it(digest, layer):
    assert digest(layer, "power**2", "power**3") != digest()
    assert digest(layer, "        return", "    return") != digest()


def test_code_elsewhere_does_not(digest):
    assert digest("demo.py", "power**2", "power**3") == digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A module.", "Another module."),
        ("A class.", "Another class."),
        ("Return it.", "Return its square."),
        ("all of this function.", "nothing more."),
        ("\n\n\nclass", "\n\n\n# A remark.\nclass"),
        ("\n", "\r\n"),
    ],
)
def test_words_do_not_change_it(digest, old, new):
    assert digest("losses", old, new) == digest()


def test_a_renamed_file_changes_it(digest):
    assert digest(module="other.py") != digest()
