"""The review list: what is left, what comes next, and that marks survive being kept as text."""

from __future__ import annotations

import pytest
from DyCONSegmentationLib.report import parse_report
from DyCONSegmentationLib.review import Mark, ReviewList, review_list

from Testing.slicer.segmentation.contents import report_text


@pytest.fixture
def regions():
    return parse_report(report_text(), "result").regions


def test_a_new_list_is_open_and_in_the_order_of_rank(regions):
    review = review_list(tuple(reversed(regions)), None)
    assert [region.rank for region in review.regions] == [1, 2, 3]
    assert review.left == 3
    assert {review.mark_of(region) for region in review.regions} == {Mark.OPEN}


def test_accepted_and_fixed_count_as_done_and_can_be_reopened(regions):
    review = review_list(regions, None).marked(1, Mark.ACCEPTED).marked(3, Mark.FIXED)
    assert review.left == 1
    assert review.marked(1, Mark.OPEN).left == 2
    assert review.marked(99, Mark.FIXED) is review


def test_next_goes_down_the_list_and_then_back_to_what_was_left(regions):
    review = review_list(regions, None)
    assert review.next_open(after=1).rank == 2
    assert review.next_open(after=3).rank == 1
    assert review.marked(2, Mark.FIXED).next_open(after=1).rank == 3
    done = review.marked(1, Mark.FIXED).marked(2, Mark.FIXED).marked(3, Mark.ACCEPTED)
    assert done.next_open() is None
    assert ReviewList().next_open() is None


def test_marks_survive_as_text(regions):
    review = review_list(regions, None).marked(2, Mark.FIXED).marked(1, Mark.ACCEPTED)
    assert review_list(regions, review.text()) == review


@pytest.mark.parametrize("text", ["{", "[]", '{"1": "gone"}', '{"x": "fixed"}', "null", "3"])
def test_unreadable_marks_are_open_again(regions, text):
    assert review_list(regions, text).left == 3


def test_marks_of_regions_that_are_not_there_are_forgotten(regions):
    assert review_list(regions[:1], '{"1": "fixed", "3": "fixed"}').marks == {1: Mark.FIXED}
