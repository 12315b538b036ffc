"""What docs/reference/benchmark.md shows to copy works: the commands' settings and the protocol."""

from __future__ import annotations

import re
import shlex
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

from dycon_engine.benchmarking.plan import resolved
from dycon_engine.benchmarking.protocol import load_protocol, protocol_names
from dycon_engine.methods import METHODS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "benchmark.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (dycon benchmark .*--set .*)$", TEXT.replace("\\\n", ""), re.MULTILINE)


def after(words: list[str], option: str) -> list[str]:
    """Return the words that follow `option`, one each time."""
    return [word for before, word in pairwise(words) if before == option]


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_the_settings_of_every_command_are_settings_of_its_methods(command: str) -> None:
    words = shlex.split(command)
    for method in after(words, "--methods") or METHODS:
        resolved("paper", method, after(words, "--set"))
    assert set(after(words, "--protocol")) <= set(protocol_names())


def test_the_shown_protocol_loads(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^    title = .*?(?=^\S)", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "own.toml").write_text(textwrap.dedent(shown))
    protocol = load_protocol(f"{tmp_path / 'own.toml'}-8")
    assert (len(protocol.labeled), len(protocol.unlabeled)) == (8, 2)
    assert [row.split for row in protocol.published] == ["another"]


def test_every_shipped_protocol_stands_on_the_page() -> None:
    for name in protocol_names():
        stem, _, variant = name.rpartition("-")
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{stem}-"))
        assert re.search(rf"`(?:{stem})?-{variant}`", row), name
