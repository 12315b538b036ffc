"""Whether scans hold Hounsfield units, so that one window fits all, and which of them do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dycon_engine.config import PreprocessingConfig
from dycon_engine.data.checks import Finding
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.survey import LOWEST_HOUNSFIELD, Scan

AIR = -500.0  # a channel that reaches below may hold Hounsfield units
# Share of `Scan.beyond`. On phantoms: 23 to 32 % in raw phase images of MR (under 5 % if cut out of
# the head, which is missed); at most 10 % in CT that was filled with -3024 and turned by splines
MOST_BEYOND = 0.15


class Modality(NamedTuple):
    """Whether the scans are taken for CT, and why, as part of a sentence."""

    is_ct: bool
    reason: str


def modality(scans: Sequence[Scan], channels: Sequence[str]) -> Modality:
    """Return whether every channel holds Hounsfield units, by its name, else in most scans."""
    if channels:
        is_ct = all(name.strip().upper() == "CT" for name in channels)
        names = ", ".join(f"'{name}'" for name in channels)
        return Modality(is_ct, f"the data set calls its channels {names}")
    against = Counter(reason for reason in map(_why_not_ct, scans) if reason)
    good = len(scans) - against.total()
    if good > len(scans) / 2:
        reason = f"air below {AIR:g}, as in Hounsfield units, in {_count(good, scans)}"
        return Modality(is_ct=True, reason=reason)
    reason, count = against.most_common(1)[0] if against else ("no readable scan", 0)
    return Modality(is_ct=False, reason=f"{reason} in {_count(count, scans)}" if count else reason)


def normalization_line(chosen: Preprocessing, config: PreprocessingConfig, found: Modality) -> str:
    """Return which normalization was chosen by settings and modality, and why, one line."""
    name, (low, high) = chosen.normalization, chosen.window
    name += f" {low:g} to {high:g}" if name == "window" else ""
    if config.normalization != "auto":
        return f"normalization: {name}, as preprocessing.normalization says"
    return (
        f"normalization: {name}, {'' if found.is_ct else 'not '}taken for CT: {found.reason}; "
        "set preprocessing.normalization to choose another"
    )


def offset_warnings(
    scans: Sequence[Scan], config: PreprocessingConfig, found: Modality
) -> Iterable[Finding]:
    """Yield scans that a window would saturate: without air below zero where others have it."""
    windowed = found.is_ct if config.normalization == "auto" else config.normalization == "window"
    others = sum(max(scan.low) <= AIR for scan in scans)
    if not windowed or not others:
        return
    for scan in scans:
        if max(scan.low) > AIR:
            yield Finding(
                "intensity",
                (scan.name,),
                f"case '{scan.name}': lowest value {max(scan.low):g}, but {others} of {len(scans)} "
                f"scans reach below {AIR:g}; is it in Hounsfield units? One window is for all: "
                "correct its offset, or leave it so if no air is in view",
            )


def _why_not_ct(scan: Scan) -> str:
    """Return what speaks against Hounsfield units in every channel, '' where nothing does."""
    if min(scan.low) > AIR:
        return f"nothing below {AIR:g}, the air of Hounsfield units,"
    if max(scan.low) > AIR:
        return f"a channel with nothing below {AIR:g}, the air of Hounsfield units,"
    if max(scan.beyond, default=0.0) > MOST_BEYOND:
        return f"many values below {LOWEST_HOUNSFIELD:g}, where CT has none (phase images?),"
    return ""


def _count(count: int, scans: Sequence[Scan]) -> str:
    return f"{count} of {len(scans)} scan{'' if len(scans) == 1 else 's'}"
