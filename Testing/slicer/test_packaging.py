"""What Slicer builds, installs and lists of this extension is complete, and runs where it lands."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from Testing.slicer import scripts_list
from Testing.slicer.scripts_list import MODULES, PACKAGES, ROOT

LIBRARIES = {module: ROOT / module / f"{module}Lib" for module in MODULES}
PANEL_SIDE = (ROOT / "DyCONLib", *LIBRARIES.values())
OF_THE_ENGINE = ("jobs", "errors", "config", "settings", "schedules")
NOT_IN_SLICER = ("torch", "monai", "nibabel", "h5py", "SimpleITK", "scipy", "safetensors")
QT = ("qt", "ctk", "PySide6", "PythonQt")


def cmake_text() -> str:
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def metadata(name: str) -> str:
    found = re.search(rf'set\(EXTENSION_{name} "([^"]+)"\)', cmake_text())
    assert found, f"EXTENSION_{name} is not set as the Extensions Index reads it"
    return found.group(1)


def description() -> dict:
    return json.loads((ROOT / "DyCON.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", [*PACKAGES, *MODULES])
def test_every_file_is_listed_and_every_listed_file_is_there(folder):
    found = scripts_list.differences(folder)
    assert not found, "run `python Testing/slicer/scripts_list.py --write`:\n" + "\n".join(found)


def test_a_forgotten_file_and_a_ghost_are_noticed_and_mended(tmp_path):
    folder = tmp_path / "DyCONLib"
    shutil.copytree(ROOT / "DyCONLib", folder)
    (folder / "forgotten.py").write_text("")
    (folder / "report.html").write_text("")
    (folder / "signal.py").unlink()
    assert scripts_list.differences("DyCONLib", tmp_path) == [
        "DyCONLib/forgotten.py: not in CMakeLists.txt",
        "DyCONLib/signal.py: listed, not there",
        "DyCONLib/report.html: not in CMakeLists.txt",
    ]
    scripts_list.write("DyCONLib", tmp_path)
    assert scripts_list.differences("DyCONLib", tmp_path) == []


def test_all_packages_and_modules_are_built():
    added = re.findall(r"add_subdirectory\((\w+)\)", cmake_text())
    assert sorted(added) == sorted((*PACKAGES, *MODULES))
    for folder in PACKAGES:
        assert "WITH_SUBDIR" in (ROOT / folder / "CMakeLists.txt").read_text()
    for folder in MODULES:
        assert "WITH_SUBDIR" not in (ROOT / folder / "CMakeLists.txt").read_text()
        assert f"{folder}.py" in scripts_list.in_cmake(folder).scripts


def test_no_two_files_are_installed_to_one_place():
    places = [f"{folder}/{name}" for folder in PACKAGES for name in files(folder)]
    places += [name for folder in MODULES for name in files(folder)]
    twice = [name for name, times in Counter(map(str.casefold, places)).items() if times > 1]
    assert not twice, f"all modules share one folder of resources; rename {twice}"


def files(folder):
    return [name for listed in scripts_list.in_cmake(folder) for name in listed]


def test_the_name_is_one_everywhere_and_the_index_takes_it():
    project = re.search(r"project\s*\(\s*([^\s)]+)", cmake_text()).group(1)
    assert project == "DyCON"
    assert (ROOT / f"{project}.json").is_file()
    assert not project.lower().startswith("slicer")
    repository = description()["scm_url"].rsplit("/", 1)[1]
    assert repository == f"Slicer{project}"
    assert metadata("HOMEPAGE") == description()["scm_url"]
    assert metadata("DEPENDS").split() == description()["build_dependencies"]


def test_the_description_file_has_only_what_the_schema_knows():
    content = description()
    known = {
        *("$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies"),
        *("dicom_support_rule", "build_subdirectory", "enabled", "tier"),
    }
    assert set(content) <= known
    assert content["category"] == "Segmentation"
    assert content["tier"] in range(1, 6)
    assert b"\r" not in (ROOT / "DyCON.json").read_bytes()


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_of_the_catalog_lie_in_the_repository(name):
    base = metadata("HOMEPAGE").replace("github.com", "raw.githubusercontent.com") + "/main/"
    for url in metadata(name).split():
        assert url.startswith(base)
        assert png_size(ROOT / url.removeprefix(base)) is not None


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", path
    return struct.unpack(">II", head[16:24])


def test_icons_have_the_size_that_slicer_wants():
    icons = [ROOT / "DyCON.png"]
    icons += [ROOT / module / "Resources" / "Icons" / f"{module}.png" for module in MODULES]
    assert [png_size(icon) for icon in icons] == [(128, 128)] * 3


def test_icons_are_drawn_from_their_sources():
    pytest.importorskip("PySide6.QtSvg", reason="PySide6 is absent: pip install -e '.[test]'")
    from PySide6.QtGui import QImage

    spec = importlib.util.spec_from_file_location("draw", ROOT / "Resources/Icons/draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    assert {source.name for source in draw.HERE.glob("*.svg")} == set(draw.ICONS)
    for name, target in draw.ICONS.items():
        kept = QImage(str(target)).convertToFormat(QImage.Format.Format_ARGB32)
        now = draw.drawn(draw.HERE / name)
        apart = [
            abs(a - b)
            for y in range(0, draw.SIZE, 3)
            for x in range(0, draw.SIZE, 3)
            for a, b in zip(
                kept.pixelColor(x, y).getRgb(), now.pixelColor(x, y).getRgb(), strict=True
            )
        ]
        assert sum(apart) / len(apart) < 1.0, f"{name} was changed: run Resources/Icons/draw.py"


def test_the_source_package_of_pip_has_the_data_files_too():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["dycon_engine"]
    data = scripts_list.in_tree("dycon_engine").resources
    lost = [name for name in data if not any(Path(name).match(p) for p in patterns)]
    assert not lost, f"pyproject.toml [tool.setuptools.package-data] leaves out {lost}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The extension installed as Slicer would, by CMake; the folder of the scripted modules."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is absent: the installation is not tried; install cmake")
    folder = tmp_path_factory.mktemp("install")
    stub = Path(__file__).with_name("cmake")
    steps = [
        [cmake, "-S", ROOT, "-B", folder / "build", f"-DSlicer_DIR={stub}"],
        [cmake, "--install", folder / "build", "--prefix", folder / "slicer"],
    ]
    for step in steps:
        result = subprocess.run(step, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr + result.stdout
    return folder / "slicer" / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def run_there(installed, code):
    """Run Python with nothing of the checkout on its path, in a folder that is not ours."""
    lead = f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n"
    lead += f"sys.path.insert(0, {str(installed)!r}); sys.meta_path[:] = [f for f in "
    lead += "sys.meta_path if '__editable__' not in str(f)]\n"
    result = subprocess.run(
        [sys.executable, "-I", "-c", lead + code],
        cwd=installed.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_module_of_the_installed_engine_can_be_imported(installed):
    code = (
        "import importlib, pkgutil, dycon_engine\n"
        "for found in pkgutil.walk_packages(dycon_engine.__path__, 'dycon_engine.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        print(importlib.import_module(found.name).__file__)\n"
    )
    lines = run_there(installed, code).split()
    assert (
        len(lines) == len(scripts_list.in_cmake("dycon_engine").scripts) - 2
    )  # __init__, __main__
    assert all(line.startswith(str(installed)) for line in lines)


def test_a_panel_starts_the_installed_engine(installed, tmp_path):
    code = (
        "import time; from pathlib import Path; from DyCONLib.preflight import Preflight\n"
        "from DyCONLib.runner import Job\n"
        f"job = Job.start('predict', ['--package', 'x', '--input', 'y', '--output', 'z'],"
        f" run_dir=Path({str(tmp_path / 'run')!r}))\n"
        "while job.state == 'running':\n    job.poll(); time.sleep(.05)\n"
        "print(job.state, job.error)\n"
    )
    assert run_there(installed, code).startswith("failed package 'x': cannot be read")


def test_nothing_but_the_extension_is_installed(installed):
    top = {path.name for path in installed.iterdir()}
    expected = {*PACKAGES, *(f"{m}.py" for m in MODULES), *(f"{m}Lib" for m in MODULES)}
    assert top == expected | {"Resources"}
    names = [path.name for path in installed.rglob("*")]
    assert not [name for name in names if name.startswith("test_") or name == "Testing"]


def imports(path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def panel_files():
    return [path for folder in PANEL_SIDE for path in sorted(folder.rglob("*.py"))]


@pytest.mark.parametrize("path", panel_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_panel_side_stands_on_the_light_part_of_the_engine_only(path):
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in NOT_IN_SLICER, f"{name}: never inside the Slicer process"
        if parts[0] == "dycon_engine" and len(parts) > 1:
            assert parts[1] in (*OF_THE_ENGINE, "__version__"), name
        for library in LIBRARIES.values():
            if parts[0] == library.name:
                assert library in path.parents, f"{name}: the two panels do not know each other"


@pytest.mark.parametrize("module", MODULES)
def test_the_logic_of_a_panel_knows_no_qt(module):
    library = LIBRARIES[module]
    start = library / "logic.py"
    waiting, seen = [start] if start.exists() else [], set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name in imports(path):
            assert name.split(".")[0] not in QT, f"{path.name} imports {name}, and logic.py it"
            part = name.removeprefix(f"{library.name}.").split(".")[0]
            other = library / f"{part}.py"
            if name.startswith(library.name) and other.exists() and other not in seen:
                waiting.append(other)
    assert seen, f"{module}Lib/logic.py is not there"
