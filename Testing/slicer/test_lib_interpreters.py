"""The engine in another Python than Slicer's: chosen, checked, kept and run in its own manner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from dycon_engine.errors import InputError
from DyCONLib import interpreters, processes
from DyCONLib.interpreters import EnginePython, as_foreign
from DyCONLib.question import Question

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(sys.prefix)  # an environment that has all that the engine needs
pytestmark = pytest.mark.skipif(os.name == "nt", reason="stand-ins are shell scripts")


@pytest.fixture
def python(tmp_path):
    """No choice yet; the environment is that of a Slicer which runs its own Python."""
    slicers = {"PATH": os.environ["PATH"], "PYTHONHOME": str(tmp_path / "slicer's")}
    return EnginePython(tmp_path / "settings", slicers)


def stand_in(folder: Path, body: str) -> Path:
    """Make an environment whose Python is a shell script."""
    path = folder / "bin" / "python3"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_another_environment_is_asked_taken_and_kept(python, tmp_path, monkeypatch):
    monkeypatch.setattr(interpreters, "missing_packages", lambda: ["torch>=2.6"])  # Slicer's own
    assert python.chosen is None
    assert python.missing() == ["torch>=2.6"]
    python.choose(HERE)
    assert python.chosen == HERE / "bin" / "python3"
    assert python.missing() == []
    again = EnginePython(tmp_path / "settings", {})  # the next start of Slicer, the other panel
    assert again.chosen == python.chosen
    again.forget()
    again.forget()  # twice changes nothing
    assert python.chosen is None


def test_an_environment_that_lacks_packages_is_refused_with_the_command_that_helps(
    python, tmp_path
):
    bare = tmp_path / "bare env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(InputError) as refusal:
        python.choose(bare)
    text = str(refusal.value)
    assert f'"{bare}/bin/python3" -m pip install "torch>=2.6' in text
    assert '"nibabel>=5.2"' in text
    assert python.chosen is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("""echo '{"version": [3, 9]}'""", r"is Python 3\.9, the engine needs 3\.11"),
        ("exit 1", r"does not answer as Python does \(CalledProcessError\)"),
        ("echo no; echo 'early\nboom' >&2; exit 3", r"does not answer as Python does \(boom\)"),
        ("echo hello", "does not answer as Python does"),
    ],
)
def test_what_is_no_python_for_the_engine_is_refused(python, tmp_path, body, words):
    stand_in(tmp_path / "env", body)
    with pytest.raises(InputError, match=words):
        python.choose(tmp_path / "env")
    with pytest.raises(InputError, match="no Python found there"):
        python.choose(tmp_path)
    assert python.chosen is None


def test_where_the_environment_is_gone_slicers_python_is_used_again(python, tmp_path, monkeypatch):
    script = stand_in(tmp_path / "env", """echo '{"version": [3, 12], "missing": []}'""")
    python.choose(tmp_path / "env")
    assert python.chosen == script
    script.unlink()
    assert python.chosen is None
    kept = tmp_path / "settings" / interpreters.FILE
    for text in ("", "[]", '{"python": 3}', "{"):
        kept.write_text(text)
        assert python.chosen is None


def test_a_job_runs_in_the_chosen_environment(tmp_path):
    """A Python started with Slicer's PYTHONHOME would not find its own library."""
    link = tmp_path / "env" / "bin"
    link.parent.mkdir()
    link.symlink_to(HERE / "bin")
    (tmp_path / "env" / "lib").symlink_to(HERE / "lib")
    (tmp_path / "env" / "pyvenv.cfg").write_bytes((HERE / "pyvenv.cfg").read_bytes())
    slicers = {"PATH": os.environ["PATH"], "PYTHONHOME": str(tmp_path / "slicer's")}
    python = EnginePython(tmp_path / "settings", slicers)
    python.choose(tmp_path / "env")
    question = Question(["--methods"], python=python.chosen, environment=slicers)
    until = time.monotonic() + 60
    while (answer := question.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert "dycon" in answer["methods"]


def test_only_a_foreign_python_is_started_differently(monkeypatch):
    monkeypatch.setattr(interpreters, "_is_translated", lambda: True)
    slicers = {"PYTHONHOME": "/slicer", "__PYVENV_LAUNCHER__": "/slicer/python", "HOME": "/h"}
    own = (sys.executable, "-m", "dycon_engine.predict")
    assert as_foreign(own, slicers) == (own, slicers)
    tool = ("/opt/itkimage2segimage", "--outputDICOM", "x.dcm")
    assert as_foreign(tool, slicers) == (tool, slicers)
    argv, environment = as_foreign(("/env/bin/python3", "-m", "dycon_engine.predict"), slicers)
    # from Intel code on Apple Silicon, a Python for both would run as Intel code
    assert argv[:3] == ("/usr/bin/arch", "-arm64", "-x86_64")
    assert argv[3:] == ("/env/bin/python3", "-m", "dycon_engine.predict")
    assert environment == {"HOME": "/h"}
    monkeypatch.setattr(interpreters, "_is_translated", lambda: False)
    assert as_foreign(("/env/bin/python3", "-m", "x"), slicers)[0][0] == "/env/bin/python3"


def test_every_process_of_the_engine_is_started_so(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    script = stand_in(tmp_path / "env", f'echo "home:$PYTHONHOME" > {seen}')
    process = processes.start(
        (str(script), "-m", "dycon_engine.predict"),
        cwd=tmp_path,
        environment={"PYTHONHOME": "/slicer", "PATH": os.environ["PATH"]},
        stderr=tmp_path / "err",
    )
    assert process.wait(20) == 0
    assert seen.read_text() == "home:\n"


def test_the_lowest_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={'.'.join(map(str, interpreters.LOWEST))}"


def test_an_environment_whose_libraries_do_not_load_is_refused_with_the_reason(python, tmp_path):
    """As one of conda's on Windows: the descriptions of its packages are there, and no more."""
    broken = tmp_path / "broken"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", broken], check=True)
    (site,) = broken.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(f"{broken}\n{HERE / site.relative_to(broken)}\n")
    (broken / "torch.py").write_text("raise OSError('in short\\nc10.dll: not found')\n")
    with pytest.raises(InputError, match=r"cannot import PyTorch, .* \(c10\.dll: not found\); re"):
        python.choose(broken)
    assert python.chosen is None
    (broken / "torch.py").unlink()
    python.choose(broken)
    assert python.chosen == broken / "bin" / "python3"


def test_an_environment_of_conda_is_activated_on_windows(tmp_path, monkeypatch):
    line = (str(tmp_path / "python.exe"), "-m", "dycon_engine.predict")
    assert as_foreign(line, {"Path": "C:\\Windows"})[1] == {"Path": "C:\\Windows"}
    monkeypatch.setattr(interpreters, "os", SimpleNamespace(name="nt", pathsep=";"))
    assert as_foreign(line, {"Path": "C:\\Windows"})[1] == {"Path": "C:\\Windows"}  # of venv
    (tmp_path / "conda-meta").mkdir()
    added = ";".join(map(str, (tmp_path, tmp_path / "Library/bin", tmp_path / "Scripts")))
    assert as_foreign(line, {"Path": "C:\\Windows"})[1] == {"Path": f"{added};C:\\Windows"}
    assert as_foreign(line, {})[1] == {"PATH": added}
    monkeypatch.setattr(interpreters, "os", SimpleNamespace(name="posix", pathsep=":"))
    assert as_foreign(line, {"PATH": "/bin"})[1] == {"PATH": "/bin"}
