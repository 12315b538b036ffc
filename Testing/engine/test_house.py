"""The house itself: what may be imported where, and how fast it opens."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dycon_engine.__main__ import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "SimpleITK", "nibabel", "scipy", "h5py", "monai", "matplotlib")
SHIPPED = ("dycon_engine", "DyCONLib", "DyCONSegmentation", "DyCONTraining")
RENAMING = "dycon_engine/jobs/files.py"
TEMPORARY = {  # only in the folder that Slicer has for temporary files
    "DyCONSegmentation/DyCONSegmentationLib/run.py",
    "DyCONTraining/DyCONTrainingLib/tasks.py",
}


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


def test_help_is_a_command_too(capsys):
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    assert main(["help"]) == 0
    assert capsys.readouterr().out == whole
    with pytest.raises(SystemExit) as stopped:
        main(["help", "describe"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: dycon describe")
    assert main(["help", "trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def method_calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield file, called name as in `os.replace`, and call, of all that is shipped."""
    for path in (path for part in SHIPPED for path in sorted((ROOT / part).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node


def is_rename(name: str, call: ast.Call) -> bool:
    """Tell the renaming of files from `str.replace`, which has two arguments."""
    if name.partition(".")[0] in ("os", "shutil"):
        return name in ("os.replace", "os.rename", "os.renames", "shutil.move")
    return name.endswith((".replace", ".rename")) and len(call.args) == 1 and not call.keywords


def test_files_are_renamed_with_patience_for_programs_that_hold_them():
    """Windows refuses for a moment where a virus scanner looks: `rename` of jobs/files.py waits."""
    calls = [(file, call.lineno) for file, name, call in method_calls() if is_rename(name, call)]
    assert [f"{file}:{line}" for file, line in calls if file != RENAMING] == []
    assert len(calls) == 1


def test_no_temporary_folder_for_one_person_alone_lies_among_the_files_of_another():
    """Files renamed out of it would keep its rights on Windows: take `staging_folder`."""
    calls = [
        (file, call.lineno)
        for file, name, call in method_calls()
        if name.startswith("tempfile.") and any(word.arg == "dir" for word in call.keywords)
    ]
    assert [f"{file}:{line}" for file, line in calls if file not in TEMPORARY] == []
    assert {file for file, _ in calls} == TEMPORARY
