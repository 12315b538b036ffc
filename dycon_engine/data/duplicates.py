"""The same scan twice, whatever the file format and the order in which its voxels are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from dycon_engine.data.checks import Finding, quoted
from dycon_engine.data.splits import Split
from dycon_engine.data.survey import Scan


def duplicate_problems(scans: Mapping[str, Scan], split: Split) -> Iterable[Finding]:
    """Yield scans of equal voxels in different roles."""
    for names, roles in _same_voxels(scans, split):
        if len(roles) > 1:
            text = f"hold the same voxels but are {' and '.join(roles)}; keep one of them"
            yield Finding("duplicates", names, f"cases {quoted(names)}: {text}")


def same_role_warnings(scans: Mapping[str, Scan], split: Split) -> Iterable[Finding]:
    """Yield scans of equal voxels in one role."""
    for names, roles in _same_voxels(scans, split):
        if len(roles) == 1:
            text = f"hold the same voxels ({roles[0]}); one would do"
            yield Finding("duplicates", names, f"cases {quoted(names)}: {text}")


def _same_voxels(
    scans: Mapping[str, Scan], split: Split
) -> Iterable[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield names of equal voxels and their roles, each group once.

    Equal are voxels that are stored alike, whatever the header says of their place, and those that
    are alike once their axes are in one order.
    """
    role_of = {name: role for role, names in split.roles.items() for name in names}
    groups: dict[str, list[str]] = defaultdict(list)
    for name, scan in scans.items():
        for key in {scan.sha256, scan.oriented_sha256} - {""}:
            groups[key].append(name)
    found = dict.fromkeys(tuple(names) for names in groups.values() if len(names) > 1)
    for group in found:
        if not any(set(group) < set(other) for other in found):
            yield group, tuple(dict.fromkeys(role_of[name] for name in group))
