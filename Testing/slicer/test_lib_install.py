"""Packages come only when asked for, with one question, and never over Slicer's own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from dycon_engine.errors import CancelledError, DyconError
from DyCONLib import install
from DyCONLib.install import Installer, missing_packages

ROOT = Path(__file__).resolve().parents[2]
THERE = {"numpy": "2.4.1", "SimpleITK": "2.5.0", "scipy": "1.16.0"}


class _Computer:
    """A Python with chosen packages, whose pip and PyTorch extension only note what they do."""

    def __init__(self):
        self.versions = dict(THERE)
        self.done = []
        self.constraints = ""
        self.fails = None

    def version(self, name):
        if name not in self.versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return self.versions[name]

    def add(self, requirements):
        if self.fails is not None:
            raise self.fails
        for each in requirements:
            name, _, version = each.partition(">=")
            self.versions[name] = version.split(",")[0]

    def pip_ensure(self, requirements, constraints, prompt_install, requester):
        assert not prompt_install
        assert requester == "DyCON"
        self.constraints = Path(constraints).read_text()
        self.done.append(("pip_ensure", requirements))
        self.add(requirements)

    def pip_install(self, arguments):
        self.done.append(("pip_install", arguments))
        self.add([each for each in arguments if ">=" in each])

    def installTorch(self, askConfirmation, torchVersionRequirement):
        assert not askConfirmation
        self.done.append(("torch", torchVersionRequirement))
        self.add([f"torch{torchVersionRequirement}"])
        return object()


@pytest.fixture
def computer(monkeypatch):
    computer = _Computer()
    monkeypatch.setattr(importlib.metadata, "version", computer.version)
    monkeypatch.setattr(install, "_testing", lambda: False)
    packaging = types.SimpleNamespace(pip_ensure=computer.pip_ensure)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(packaging, "__spec__", object(), raising=False)
    extension = types.SimpleNamespace(PyTorchUtilsLogic=lambda: computer)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return computer


def asked(answer=True):
    questions = []

    def confirm(text, title):
        questions.append(text)
        return answer

    return Installer(confirm), questions


def test_what_is_needed_is_what_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = dict(each.split(">=") for each in project["dependencies"])
    said.pop("rich")  # for terminals only
    assert said == install.NEEDED


def test_nothing_is_missing_here_and_asking_imports_nothing():
    code = (
        "import sys\nfrom DyCONLib import install\nassert install.missing_packages() == []\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'slicer', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"


def test_what_a_fresh_slicer_lacks(computer):
    assert [each.partition(">=")[0] for each in missing_packages()] == [
        *("torch", "nibabel", "h5py", "safetensors", "matplotlib", "jinja2")
    ]
    computer.versions["h5py"] = "3.9.0"
    assert "h5py>=3.10" in missing_packages()
    computer.versions["h5py"] = "3.10"
    assert "h5py>=3.10" not in missing_packages()
    computer.versions["torch"] = "2.10.0+cu126"
    assert not [each for each in missing_packages() if "torch" in each]


def test_a_simpleitk_without_description_is_slicers_own(computer):
    del computer.versions["SimpleITK"]
    assert not [each for each in missing_packages() if "SimpleITK" in each]


def test_one_question_names_everything_and_then_everything_comes(computer):
    installer, questions = asked()
    missing = missing_packages()
    assert installer.ensure()
    assert len(questions) == 1
    assert all(each in questions[0] for each in missing)
    assert "GB" in questions[0]
    assert [step for step, _ in computer.done] == ["torch", "pip_ensure"]
    assert computer.done[0][1].startswith(">=2.6")
    assert computer.constraints == "numpy==2.4.1\nSimpleITK==2.5.0\n"
    assert not {"numpy", "SimpleITK"} & {each.partition(">=")[0] for each in computer.done[1][1]}
    assert installer.ensure()
    assert len(questions) == 1


def test_torch_is_capped_where_it_does_not_load(computer, monkeypatch):
    monkeypatch.setattr(install, "TORCH_BELOW", {install.os.name: "2.13"})
    asked()[0].ensure()
    assert computer.done[0] == ("torch", ">=2.6,<2.13")


def test_slicer_5_10_installs_with_its_own_pip(computer, monkeypatch):
    import slicer.util

    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "slicer.packaging" else name
    )
    monkeypatch.setattr(slicer.util, "pip_install", computer.pip_install, raising=False)
    assert asked()[0].ensure()
    assert [step for step, _ in computer.done] == ["torch", "pip_install"]
    arguments = computer.done[1][1]
    assert arguments[-2:] == ["numpy==2.4.1", "SimpleITK==2.5.0"]  # no path, which may not arrive
    assert all(re.fullmatch(r"\w+(>=|==)[\d.]+", each) for each in arguments)  # nothing to quote


def test_no_means_that_nothing_happens(computer):
    installer, questions = asked(answer=False)
    with pytest.raises(CancelledError):
        installer.ensure()
    assert questions
    assert computer.done == []


def test_in_testing_mode_nobody_is_asked_and_nothing_is_installed(computer, monkeypatch):
    monkeypatch.setattr(install, "_testing", lambda: True)
    installer, questions = asked()
    assert not installer.ensure()
    assert not questions
    assert computer.done == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (subprocess.CalledProcessError(1, "pip"), "pip ended with code 1"),
        (OSError(28, "No space left on device"), "No space left"),
        (ImportError("light-the-torch: not found"), "light-the-torch: not found"),
        (RuntimeError("network is down\nmore"), r"\(network is down\); check the network"),
    ],
)
def test_a_failure_is_one_sentence(computer, error, said):
    computer.fails = error
    with pytest.raises(DyconError, match=said) as no:
        asked()[0].ensure()
    assert "\n" not in str(no.value)


def test_two_panels_never_install_at_once(computer, monkeypatch):
    """Slicer goes on with its events while pip works, so a second click gets through."""
    second, questions = asked()
    refusals = []

    def add(requirements):
        with pytest.raises(DyconError, match="are being installed already") as no:
            second.ensure()
        refusals.append(no)

    monkeypatch.setattr(computer, "add", add)
    with pytest.raises(DyconError, match="still missing"):
        asked()[0].ensure()
    assert refusals
    assert questions == []


@pytest.mark.parametrize("torch", [None, "2.2.2"])
def test_slicer_for_intel_macs_is_told_that_pytorch_has_ended(computer, monkeypatch, torch):
    if torch:
        computer.versions["torch"] = torch
    monkeypatch.setattr(install.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    installer, questions = asked()
    with pytest.raises(DyconError, match=r"Intel.*PyTorch ended with version 2\.2"):
        installer.ensure()
    assert questions == []
    monkeypatch.setattr(install.platform, "machine", lambda: "arm64")
    assert not install.hindrance()


def test_an_old_torch_is_not_replaced_under_a_running_slicer(computer):
    computer.versions["torch"] = "2.1.0"
    with pytest.raises(DyconError, match=r"PyTorch 2\.1\.0 is installed.*restart Slicer"):
        asked()[0].ensure()
    assert computer.done == []


def test_without_the_extension_pytorch_the_person_is_told_where_it_is(computer, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    installer, questions = asked()
    with pytest.raises(DyconError, match="Extensions Manager"):
        installer.ensure()
    assert questions == []  # not after a yes to so many gigabytes


def test_slicers_own_numpy_is_never_replaced(computer):
    computer.versions["numpy"] = "1.20.0"
    with pytest.raises(DyconError, match=r"own numpy .* must not be replaced"):
        asked()[0].ensure()
    assert computer.done == []


def test_what_did_not_arrive_is_named(computer, monkeypatch):
    monkeypatch.setattr(computer, "add", lambda requirements: None)
    with pytest.raises(DyconError, match=r"torch>=2\.6.*: still missing after"):
        asked()[0].ensure()


def test_the_question_is_slicers_own_where_no_other_is_given(slicer_scene, computer, monkeypatch):
    import slicer

    heard = []

    def confirm(text, windowTitle):
        heard.append((text, windowTitle))
        return False

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    with pytest.raises(CancelledError):
        Installer().ensure()
    assert "torch>=2.6" in heard[0][0]
    assert heard[0][1] == install.TITLE
