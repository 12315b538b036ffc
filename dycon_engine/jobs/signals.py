"""How a job hears that it should stop: SIGINT and SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping(cancel: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `cancel`; a second SIGINT interrupts.

    From then on a child that ends is no fault.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts = 0

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        nonlocal interrupts
        cancel()
        let_children_end()
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_children_end() -> None:
    """Take no notice of children that end, from now to the end of this process.

    PyTorch's handler, there for the loading processes, would raise in the midst of anything.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "SIGCHLD"):  # not on Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
