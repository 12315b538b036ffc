"""Which files are the channels of one scan, and what a folder holds beside its scans."""

from __future__ import annotations

import pytest

from dycon_engine.errors import InputError
from dycon_engine.inference.inputs import find_inputs, unread_inputs
from Testing.tiny_scans import scan, write_scan


def write(folder, *names):
    for name in names:
        write_scan(folder / f"{name}.nii.gz", scan(1))
    return folder


def test_channels_are_numbered_from_zero(tmp_path):
    [case] = find_inputs([write(tmp_path, "a_0001", "a_0000")], 2)
    assert (case.name, [path.name for path in case.images]) == (
        "a",
        ["a_0000.nii.gz", "a_0001.nii.gz"],
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("b_0001", "b_0002"), r"case 'b': 'b_0000' is missing, found 'b_0001\.nii\.gz', 'b_0002"),
        (("c_0000", "c_0003"), "case 'c': 'c_0001' is missing"),
        (("a_2019", "a_2020"), "case 'a': 'a_0000' is missing"),
        (("d_0000", "d_0001", "d_0002"), "case 'd': expected 2 files, found 'd_0000"),
        (("e", "e_0000"), "case 'e': 'e_0001' is missing"),
    ],
)
def test_other_numbers_are_no_channels(tmp_path, names, told):
    """They were stacked in the order of their names, as if they were channels 0 and 1."""
    with pytest.raises(InputError, match=told) as caught:
        find_inputs([write(tmp_path, *names)], 2)
    assert "takes '" in str(caught.value)
    (tmp_path / "list.txt").write_text("".join(f"{name}.nii.gz\n" for name in names))
    with pytest.raises(InputError, match=told):
        find_inputs([tmp_path / "list.txt"], 2)


def test_numbers_mean_nothing_to_a_model_of_one_channel(tmp_path):
    cases = find_inputs([write(tmp_path, "a_2019", "a_2020", "b_0000")], 1)
    assert [case.name for case in cases] == ["a_2019", "a_2020", "b"]
    write(tmp_path, "b")
    with pytest.raises(InputError, match="would both become 'b'"):
        find_inputs([tmp_path], 1)


def test_what_is_not_segmented_is_said(tmp_path):
    folder = write(tmp_path / "in", "a")
    (folder / "b.nii.gz").symlink_to("nowhere")
    (folder / "c").mkdir()
    write(folder / "c", "scan")
    (folder / "notes.txt").write_text("")
    link, inner = unread_inputs([folder])
    assert link.startswith("'in/b.nii.gz' is not read: a link to a file that is not there")
    assert inner.startswith("'in/c' is not read: a folder whose scans are not looked into")
    assert unread_inputs([folder / "a.nii.gz"]) == []
    (folder / "a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"no scans found; .*b\.nii\.gz' is not read"):
        find_inputs([folder], 1)
