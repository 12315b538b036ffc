"""The settings as text for people: one line each, or the page docs/reference/settings.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

COMMAND = "dycon describe --settings --markdown"
HEAD = f"""\
# Settings

Written by `{COMMAND}`; `--json` in place of `--markdown` gives the same to \
programs, neither a line per setting.

A setting has a section and a name. Values come, later over earlier, from the defaults, the \
profile (`--profile`; without one `gpu` where CUDA is, else `laptop`), files (`--config`, which \
may be repeated) and the command line:

```sh
dycon train --data my-scans --run-dir runs/second --config run.toml --set training.seed=1
```

```toml
# run.toml
profile = "laptop"

[preprocessing]
spacing_mm = [0.5, 0.25, 0.25]

[training]
steps = 6000

[method]
name = "dycon"
mixing = 0.5
```

**`laptop` resamples every scan to 1.25 mm.** That is too coarse for thin structures and small \
animals: set `preprocessing.spacing_mm` (z, y, x), or `--set preprocessing.spacing_mm=none` for \
the median of your labeled scans. On a finer grid a patch of as many voxels shows less of the \
body; `training.patch_size` makes it larger, at the cost of time and memory.

`config.json` in the run directory holds what a run was made with."""
SECTION = """\
## {section}

| setting | type | default | otherwise in a profile | |
|---|---|---|---|---|"""
METHODS = """\
## method

`describe --methods` shows one method at a time. A profile can bring its own values for a method: \
those of `laptop` were chosen by measurement ([0003](../decisions/0003-laptop-profile.md)), `gpu` \
takes the same without a measurement of its own, those of `paper` are what the papers say, as far \
as they say it ([methods](methods.md)).

| setting | methods | type | default | otherwise in a profile | |
|---|---|---|---|---|---|"""
_LIST = re.compile(r"list of (\d+|\.\.\.) (\w+)")


def settings_page(described: Mapping[str, Any]) -> str:
    """Return `description.describe_settings()` as Markdown."""
    lines, section = [HEAD], ""
    everywhere = {name for entry in described["methods"] for name in entry["methods"]}
    table = [METHODS]
    for entry in described["sections"]:
        name = entry["name"].partition(".")[0]
        if name == "method":
            table.append(_row(entry, "all"))
            continue
        if name != section:
            section = name
            lines += ["", SECTION.format(section=section)]
        lines.append(_row(entry))
    for entry in described["methods"]:
        names = "all" if set(entry["methods"]) == everywhere else ", ".join(entry["methods"])
        table.append(_row(entry, names))
    return "\n".join((*lines, "", *table)) + "\n"


def settings_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per setting."""
    for entry in (*described["sections"], *described["methods"]):
        notes = [f"of {', '.join(entry['methods'])}"] if "methods" in entry else []
        notes += [_type(entry), *_otherwise(entry)]
        yield f"{entry['name']} = {_value(entry['default'])} ({'; '.join(notes)}): {entry['help']}"


def _row(entry: Mapping[str, Any], *more: str) -> str:
    name, default = f"`{entry['name']}`", f"`{_value(entry['default'])}`"
    cells = (name, *more, _type(entry), default, "; ".join(_otherwise(entry)), entry["help"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _otherwise(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that are not the default, each with the profiles that have it."""
    profiles: dict[str, list[str]] = {}
    for profile, value in entry["profiles"].items():
        if "methods" not in entry:
            if value != entry["default"]:
                profiles.setdefault(_value(value), []).append(profile)
            continue
        methods: dict[str, list[str]] = {}
        for method, chosen in value.items():
            methods.setdefault(_value(chosen), []).append(method)
        for text, names in methods.items():
            of = "" if names == entry["methods"] else f" for {', '.join(names)}"
            profiles.setdefault(f"{text}{of}", []).append(profile)
    for text, names in profiles.items():
        yield f"{', '.join(names)}: {text}"


def _type(entry: Mapping[str, Any]) -> str:
    if entry["choices"]:
        return ", ".join(entry["choices"])
    low, high = (None if end is None else f"{end:g}" for end in (entry["low"], entry["high"]))
    parts = [_LIST.sub(_plural, entry["type"])]
    if low is not None:
        parts.append(f"{low} or more" if high is None else f"{low} to {high}")
    return ", ".join((*parts, entry["unit"]) if entry["unit"] else parts)


def _plural(found: re.Match[str]) -> str:
    return f"{found[2]}s" if found[1] == "..." else f"{found[1]} {found[2]}s"


def _value(value: Any) -> str:
    """Return a value as `--set` takes it."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and value else json.dumps(value)
