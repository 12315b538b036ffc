"""A panel lists and imports models without PyTorch, and no file can harm it."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dycon_engine import package
from dycon_engine.errors import DyconError, InputError
from dycon_engine.package import load_package
from dycon_engine.package.archive import MEMBERS, MODEL, pack
from DyCONLib import models
from DyCONLib.models import Broken, Model, find_models, import_model, read_model
from Testing import tiny_package

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = 400


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "m.dycon"
    tiny_package.save(path, partner=False, channels=2, name_patterns=("_0000", "_0001"))
    return path.read_bytes()


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in MEMBERS}


def changed(content, **changes):
    """The model with another description, as the engine would pack it."""
    parts = members(content)
    table = json.loads(parts[MODEL]) | changes
    return pack(parts | {MODEL: json.dumps(table).encode()})


def test_panel_and_engine_take_the_same_files():
    assert models.LIMITS == package.archive.LIMITS
    assert models.NEWEST_FORMAT == package.info.FORMAT_VERSION
    assert (models.MOST_LABELS, models.LONGEST_TEXT) == (
        package.info.MOST_CLASSES,
        package.info.LONGEST_TEXT,
    )
    assert models._CONTROL == package.info._CONTROL


def test_a_model_says_what_it_does(content, tmp_path):
    path = tmp_path / "ball finder.dycon"
    path.write_bytes(content)
    model = read_model(path, weights=True)
    assert model.name == "ball finder"
    assert model.segments == ((3, "ball", (200, 30, 30), "T-D0050"),)
    assert model.channels == (("c0", "_0000"), ("c1", "_0001"))
    assert (model.labeled_cases, model.unlabeled_cases, model.dice) == (4, 9, 0.875)
    assert (model.ece, model.method) == (0.02, "dycon")
    assert "Not a medical device" in model.notice
    info = load_package(path).info
    assert model.raw == json.loads(json.dumps(info.as_table()))


@pytest.mark.parametrize(
    ("channels", "normalization", "modality"),
    [
        (["T1 MRI"], "zscore", "MR"),
        (["CT_venous"], "zscore", "CT"),
        (["image"], "window", "CT"),
        (["image"], "zscore", ""),
        (["octopus"], "zscore", ""),
    ],
)
def test_the_modality_comes_from_the_channels_or_the_window(
    content, tmp_path, channels, normalization, modality
):
    path = tmp_path / "m.dycon"
    preprocessing = json.loads(members(content)[MODEL])["preprocessing"]
    path.write_bytes(
        changed(
            content,
            channels=channels,
            name_patterns=[],
            preprocessing=preprocessing | {"normalization": normalization},
        )
    )
    assert read_model(path).modality == modality


def test_a_model_that_says_little_is_a_model(content, tmp_path):
    path = tmp_path / "m.dycon"
    path.write_bytes(changed(content, training={"method": "imported", "validation": None}))
    model = read_model(path)
    assert (model.labeled_cases, model.dice, model.validation_cases) == (None, None, None)


def refusal(read, path):
    """Why a file is refused; empty where it is not."""
    try:
        read(path)
    except InputError as error:
        return str(error)
    return ""


def test_no_mutant_harms_and_import_takes_none(content, tmp_path):
    generator, path, folder = random.Random(7), tmp_path / "m.dycon", tmp_path / "models"
    folder.mkdir()
    for _ in range(MUTANTS):
        data = bytearray(content)
        at = generator.randrange(len(data))
        if generator.random() < 0.5:  # the description and the directory matter most
            at = generator.choice((at % 4096, len(data) - 1 - at % 300))
        way = generator.randrange(4)
        if way == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = generator.randbytes(9)
        else:
            data[at : at + 16] = bytes(len(data[at : at + 16]))
        if bytes(data) == content:
            continue
        path.write_bytes(data)
        for read in (read_model, lambda item: import_model(item, folder)):
            message = refusal(read, path)
            assert "\n" not in message
            assert not message or "m.dycon" in message
        if not message:  # a date or an attribute in the archive's own bookkeeping
            assert members((folder / "m.dycon").read_bytes()) == members(content)
            (folder / "m.dycon").unlink()
    assert list(folder.iterdir()) == []


def test_the_weights_and_the_description_are_checked_on_import(content, tmp_path):
    path = tmp_path / "m.dycon"
    data = bytearray(content)
    at = content.index(members(content)["weights.safetensors"]) + 3000
    data[at] ^= 1
    path.write_bytes(data)
    assert read_model(path).name == "m"  # the list stays quick
    with pytest.raises(InputError, match="get the file again"):
        import_model(path, tmp_path / "models")
    path.write_bytes(changed(content, weights_sha256="0" * 64))
    with pytest.raises(InputError, match="weights are not those"):
        import_model(path, tmp_path / "models")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("newer", {"format_version": 2}, "update the extension"),
        ("no labels", {"labels": []}, "0 labels"),
        (
            "twice",
            {"labels": [{"value": 1, "name": "a", "color": None, "terminology": ""}] * 2},
            "",
        ),
        (
            "color",
            {"labels": [{"value": 1, "name": "a", "color": [1, 2, 999], "terminology": ""}]},
            "",
        ),
        ("text", {"notice": "a\u202eb"}, "control characters"),
        ("bool", {"labels": [{"value": True, "name": "a", "color": None, "terminology": ""}]}, ""),
        ("list", {"training": [1]}, "list where dict"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(content, tmp_path, name, change, said):
    path = tmp_path / "m.dycon"
    path.write_bytes(changed(content, **change))
    with pytest.raises(InputError, match=said or "not a usable DyCON model"):
        read_model(path)


def repacked(parts, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def hiding(parts, name, data):
    """An archive with a member that its list does not name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in parts.items():
            archive.writestr(member, content)
            if member == MODEL:
                archive.writestr(name, data)
                archive.filelist.pop()
    return stream.getvalue()


def test_archives_that_are_no_models_are_refused(content, tmp_path):
    parts = members(content)
    crafted = {
        "text": b"hello, I am not a model at all, only a text of some length, as files are",
        "empty": b"",
        "short": b"PK\5\6",
        "compressed": repacked(parts, zipfile.ZIP_DEFLATED),
        "path": repacked({f"../{name}": data for name, data in parts.items()}),
        "extra": repacked(parts | {"run.py": b"print()"}),
        "hidden": hiding(parts, "run.py", b"print()"),
        "deep": pack(parts | {MODEL: b"[" * 100_000 + b"]" * 100_000}),
        "nan": pack(parts | {MODEL: b'{"format_version": NaN}'}),
        "double": pack(parts | {MODEL: b'{"format_version": 1, "format_version": 1}'}),
        "huge number": pack(parts | {MODEL: b'{"format_version": ' + b"9" * 10_000 + b"}"}),
        "not utf-8": pack(parts | {MODEL: b"\xff\xfe"}),
        "many": repacked({f"{i}": b"" for i in range(50_000)}),
        "zip64": content[:-22] + struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1) + content[-22:],
    }
    for name, data in crafted.items():
        path = tmp_path / f"{name}.dycon"
        path.write_bytes(data)
        with pytest.raises(InputError, match="get the file again") as no:
            read_model(path)
        assert "\n" not in str(no.value), name


def test_the_list_shows_good_and_broken_models_and_no_half_copies(content, tmp_path):
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    shipped.mkdir()
    own.mkdir()
    (shipped / "b.dycon").write_bytes(content)
    (own / "A.dycon").write_bytes(content)
    (own / "c.dycon").write_bytes(content[:-1])
    (own / ".dycon-00000000-1-0-d.dycon").write_bytes(content)
    (own / "notes.txt").write_text("")
    (own / "folder.dycon").mkdir()
    found = find_models([own, shipped, tmp_path / "absent"])
    assert [item.path.name for item in found] == ["A.dycon", "c.dycon", "folder.dycon", "b.dycon"]
    assert [type(item) for item in found] == [Model, Broken, Broken, Model]
    assert "c.dycon" in found[1].reason


def test_import_copies_whole_and_never_replaces_unasked(content, tmp_path):
    path, folder = tmp_path / "m.dycon", tmp_path / "models" / "mine"
    path.write_bytes(content)
    assert import_model(path, folder).path == folder / "m.dycon"
    assert (folder / "m.dycon").read_bytes() == content
    import_model(path, folder)  # the same again is no question
    other = changed(content, license="other")
    path.write_bytes(other)
    with pytest.raises(InputError, match="another one of this name"):
        import_model(path, folder)
    assert (folder / "m.dycon").read_bytes() == content
    import_model(path, folder, overwrite=True)
    assert (folder / "m.dycon").read_bytes() == other
    assert [item.name for item in folder.iterdir()] == ["m.dycon"]
    path.rename(tmp_path / "m.zip")
    with pytest.raises(InputError, match=r"must end in \.dycon"):
        import_model(tmp_path / "m.zip", folder)


def test_a_failed_copy_leaves_nothing(content, tmp_path, monkeypatch):
    path, folder = tmp_path / "m.dycon", tmp_path / "models"
    path.write_bytes(content)

    def half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])

    monkeypatch.setattr("DyCONLib.models.shutil.copyfile", half)
    with pytest.raises(DyconError, match="changed while it was copied"):
        import_model(path, folder)
    assert list(folder.iterdir()) == []


def test_reading_models_needs_neither_torch_nor_numpy_nor_much_memory(content, tmp_path):
    (tmp_path / "m.dycon").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from DyCONLib import models\n"
        "models.import_model(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "assert not {'torch', 'numpy', 'slicer', 'vtk'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.dycon"), str(tmp_path / "models")],
        cwd=ROOT,
        check=True,
    )


def test_evidence_is_read_as_the_engine_writes_it(content, tmp_path):
    from dycon_engine.package.evidence import CaseFigures, Evidence, Trust

    written = Evidence(
        source=("A. Author, A title, 2019.", "The figures are optimistic."),
        limits=("fails on CT",),
        page="docs/models/left-atrium.md",
        cases=(CaseFigures(0.9, 2.5, 1.0), CaseFigures(0.8, None, None)),
        trust=Trust(5.0, 0.02, 0.01, 0.86, 0.05),
    )
    path = tmp_path / "m.dycon"
    path.write_bytes(changed(content, evidence=written.as_table()))
    read = models.read_model(path).evidence
    assert (read.dice, read.hd95_mm) == ((0.9, 0.8), (2.5,))
    assert read.trust == (5.0, 0.01, 0.86, 0.05)
    assert (read.limits, read.page) == (written.limits, written.page)
    assert (read.caveats, read.citations) == (written.source[1:], written.source[:1])
    hidden = ["a\u202eb"]
    for broken in ({"cases": 3}, {"limits": hidden}, {"source": hidden}, {"trust": {"band_mm": 1}}):
        path.write_bytes(changed(content, evidence=written.as_table() | broken))
        with pytest.raises(InputError, match="not a usable DyCON model"):
            models.read_model(path)


def test_the_largest_field_of_view_is_that_of_the_training_scans(content, tmp_path):
    path = tmp_path / "m.dycon"
    path.write_bytes(content)
    model = models.read_model(path)
    sides = [high for _, high in model.raw["seen"]["size_mm"]]
    assert model.largest_seen_mm == tuple(reversed(sides))
    path.write_bytes(changed(content, seen=None))
    assert models.read_model(path).largest_seen_mm is None
