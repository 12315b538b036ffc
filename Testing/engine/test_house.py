"""The house itself: what may be imported where, and how fast it opens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dycon_engine.__main__ import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "SimpleITK", "nibabel", "scipy", "h5py", "monai", "matplotlib")


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import dycon_engine",
        "import dycon_engine.config, dycon_engine.errors, dycon_engine.schedules",
        "import dycon_engine.jobs.events, dycon_engine.jobs.client, dycon_engine.jobs.files",
    ],
)
def test_what_a_panel_imports_needs_the_standard_library_only(statement):
    assert not modules_after(statement) & set(HEAVY)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_does_not_wait_for_torch(verb):
    statement = (
        "import contextlib, io\n"
        "from dycon_engine.__main__ import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        f"    main(['{verb}', '--help'])\n"
        "assert 'usage' in out.getvalue().lower(), out.getvalue()"
    )
    assert not modules_after(statement) & set(HEAVY)


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert "not a medical device" in text
