"""A file that takes its time: followed, cancelled, failed; and one after the other."""

from __future__ import annotations

import pytest

from dycon_engine.errors import DyconError, InputError


@pytest.fixture
def writing():
    from DyCONSegmentationLib.writing import Writing

    made = Writing()
    made.said = []
    made.failed.connect(made.said.append)
    return made


def slowly(path, error=None):
    """Write in three steps, the last one with an error; remove the part where it does not end."""
    part = path.with_suffix(".part")
    part.write_text("half")
    try:
        yield "Preparing"
        yield "Writing"
        if error:
            raise error
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def test_a_file_that_is_written_at_once_is_said(writing, tmp_path):
    writing.start(lambda path: path.write_text("x") and None, tmp_path / "a.json")
    assert (writing.busy, writing.words) == (False, "'a.json' is written")


def test_a_file_that_takes_its_time_is_followed_to_its_end(writing, tmp_path):
    seen = []
    writing.changed.connect(lambda: seen.append((writing.busy, writing.words)))
    writing.start(slowly, tmp_path / "a.dcm")
    writing.poll()
    with pytest.raises(InputError, match="a file is being written; wait for it or cancel it"):
        writing.start(slowly, tmp_path / "b.dcm")
    writing.poll()
    writing.poll()
    assert seen == [
        (True, "Preparing..."),
        (True, "Writing..."),
        (False, "'a.dcm' is written"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.dcm"]


def test_what_else_there_is_to_say_is_said_in_the_end(writing, tmp_path):
    def write(path):
        yield "Writing"
        return "it is in the database, too"

    writing.start(write, tmp_path / "a.dcm")
    writing.poll()
    assert writing.words == "'a.dcm' is written; it is in the database, too"


def test_a_step_that_asks_the_person_is_not_entered_twice(writing, tmp_path):
    """While a question of Slicer is open the timer goes on, and the step has not returned."""

    def asking(path):
        yield "Writing"
        writing.poll()
        writing.cancel()
        path.write_text("whole")
        return ""

    writing.start(asking, tmp_path / "a.dcm")
    assert writing.busy
    writing.poll()
    assert (writing.busy, writing.words) == (False, "'a.dcm' is written")
    assert not writing.said


def test_cancel_leaves_nothing_and_the_next_file_can_be_written(writing, tmp_path):
    writing.start(slowly, tmp_path / "a.dcm")
    writing.cancel()
    assert (writing.busy, writing.words) == (False, "Cancelled; nothing was written")
    assert not list(tmp_path.iterdir())
    writing.cancel()  # nothing goes on: no error
    writing.start(slowly, tmp_path / "b.dcm")
    assert writing.busy
    writing.cancel()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DyconError("the tool failed"), "the tool failed"),
        (KeyError("Rows"), "'a.dcm' could not be written (KeyError: 'Rows')"),
    ],
)
def test_a_failure_on_the_way_is_one_sentence(writing, tmp_path, error, words):
    writing.start(lambda path: slowly(path, error), tmp_path / "a.dcm")
    writing.poll()
    writing.poll()
    assert writing.said == [words]
    assert (writing.busy, writing.words) == (False, "")
    assert not list(tmp_path.iterdir())


def test_a_failure_at_the_start_is_raised_and_nothing_goes_on(writing, tmp_path):
    def refuse(path):
        raise InputError("no DICOM")
        yield "never"

    with pytest.raises(InputError, match="no DICOM"):
        writing.start(refuse, tmp_path / "a.dcm")
    assert not writing.busy
    assert not writing.said
