"""The few kinds of failure the engine reports, each with its exit code.

A message names the file or case, what was found, what was expected and what to do, in one line::

    case 'pt07': label is 96x96x64 but image is 128x128x64; resample the label or exclude the case
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """Return `text` in one line: control characters, e.g. of a damaged header, are escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class DyconError(Exception):
    """A job could not be done; the message is one line for the person.

    Attributes:
        exit_code: Of the job.
        topic: A stable word for programs, "" where they need none.
    """

    exit_code: ClassVar[int] = 1
    topic: ClassVar[str] = ""

    def __init__(self, *lines: str) -> None:
        """Keep `lines`, made printable; all but `DatasetError` have one."""
        super().__init__("\n".join(printable(line) for line in lines))


class InputError(DyconError):
    """A file, a case, a setting or a command line is not usable as given."""

    exit_code: ClassVar[int] = 2


class DamagedFileError(InputError):
    """A file is truncated, fails its checksum or does not hold what its header says."""


class DatasetError(InputError):
    """A data set cannot be trained on; holds every problem found, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep `problems` (at least one), one sentence each."""
        self.problems = tuple(problems)
        super().__init__(*self.problems)


class CancelledError(DyconError):
    """The person asked the job to stop; nothing of it is left half done."""

    exit_code: ClassVar[int] = 3


class OutOfMemoryError(DyconError):
    """The work needs more memory than there is, also after every smaller way was tried."""

    topic: ClassVar[str] = "memory"


class NonFiniteError(DyconError):
    """A loss term, a gradient or a prediction stayed NaN or infinite."""
