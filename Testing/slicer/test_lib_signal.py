"""Controllers speak, widgets listen."""

from __future__ import annotations

import logging

from DyCONLib.signal import Signal


def test_listeners_hear_in_order_until_they_leave():
    heard, signal = [], Signal()
    first, second = (lambda x: heard.append(("a", x))), (lambda x: heard.append(("b", x)))
    signal.connect(first)
    signal.connect(second)
    signal.connect(first)
    signal.emit(1)
    signal.disconnect(first)
    signal.disconnect(first)
    signal.emit(2)
    signal.disconnect()
    signal.emit(3)
    assert heard == [("a", 1), ("b", 1), ("b", 2)]


def test_a_failing_listener_is_logged_and_the_others_still_hear(caplog):
    heard, signal = [], Signal()

    def failing():
        raise ValueError("boom")

    signal.connect(failing)
    signal.connect(lambda: heard.append(1))
    with caplog.at_level(logging.ERROR, logger="DyCON"):
        signal.emit()
    assert heard == [1]
    assert "boom" in caplog.text


def test_a_method_of_an_object_can_leave_and_listeners_may_change_while_it_speaks():
    signal = Signal()

    class Widget:
        count = 0

        def hear(self):
            self.count += 1
            signal.disconnect(self.hear)

    widgets = [Widget(), Widget()]
    for widget in widgets:
        signal.connect(widget.hear)
    signal.emit()
    signal.emit()
    assert [widget.count for widget in widgets] == [1, 1]
