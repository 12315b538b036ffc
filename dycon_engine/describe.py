"""Show a package, a data set, the settings, the methods with theirs, or this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError
from dycon_engine.inference.settings_page import settings_lines, settings_page

SCHEMA_VERSION = 1
LONGEST_VALUE = 400  # characters; what is longer is for programs


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="dycon describe",
        description="Show a package, a data set, the settings of a run, the methods, or this "
        "machine. Without an option: methods and machine.",
    )
    line.add_argument(
        "--package", type=Path, help="a model, NAME.dycon: its card; with --json every value"
    )
    line.add_argument(
        "--data",
        type=Path,
        help="a data set, as `train` would find it, with all that its audit says",
    )
    line.add_argument("--methods", action="store_true", help="training recipes and settings")
    line.add_argument(
        "--settings",
        action="store_true",
        help="every setting of a run: type, default, value in each profile",
    )
    line.add_argument("--machine", action="store_true", help="devices, memory, versions")
    line.add_argument("--json", action="store_true", help="for programs")
    line.add_argument(
        "--markdown", action="store_true", help="with --settings alone: docs/reference/settings.md"
    )
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    line = parser()
    options = line.parse_args(argv)
    others = (options.package, options.data, options.methods, options.machine)
    if options.markdown and (options.json or not options.settings or any(others)):
        line.error("--markdown goes with --settings alone")
    everything = not (any(others) or options.settings)
    try:
        from dycon_engine.inference import description  # noqa: PLC0415 - no torch before parsing

        content: dict[str, Any] = {"schema_version": SCHEMA_VERSION} if options.json else {}
        if options.package and options.json:
            content["package"] = description.describe_package(options.package)
        elif options.package:
            content["package"] = description.package_page(options.package)
        if options.data:
            content["data"] = description.describe_data(options.data)
        if options.methods or everything:
            content["methods"] = description.describe_methods()
        if options.settings:
            content["settings"] = description.describe_settings()
        if options.machine or everything:
            content["machine"] = description.describe_machine()
    except DyconError as error:
        sys.stderr.write(f"DyCON: {error}\n")
        return error.exit_code
    if options.markdown:
        _write(settings_page(content["settings"]))
    else:
        lines = [json.dumps(content, indent=2)] if options.json else _lines(content)
        _write("\n".join(lines) + "\n")
    return 0


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))


def _lines(content: Mapping[str, Any], depth: int = 0) -> list[str]:
    lead, lines = "  " * depth, []
    for name, value in content.items():
        if name == "package" and depth == 0:
            lines += value.splitlines()
        elif name == "settings" and depth == 0:
            lines += [f"{lead}{name}:", *(f"{lead}  {text}" for text in settings_lines(value))]
        elif isinstance(value, Mapping):
            lines += [f"{lead}{name}:", *_lines(value, depth + 1)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{lead}{name}:")
            lines += [f"{lead}  {_row(item)}" for item in value]
        else:
            lines.append(f"{lead}{name}: {_value(value)}")
    return lines


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, list | tuple) or hasattr(value, "_fields"):
        return _item(value)
    text = ", ".join(map(_item, value)) or "-"
    return text if len(text) <= LONGEST_VALUE else f"{len(value)} values, in --json"


def _item(value: Any) -> str:
    if getattr(value, "_fields", ()) == ("low", "high"):
        return f"{value.low} to {value.high}"
    return f"({', '.join(map(_item, value))})" if isinstance(value, list | tuple) else str(value)


def _row(item: Mapping[str, Any]) -> str:
    if {"name", "help"} <= set(item):  # a setting
        unit = f" {item['unit']}" if item.get("unit") else ""
        choices = f" ({' | '.join(item['choices'])})" if item.get("choices") else ""
        return f"{item['name']} = {item['default']}{unit}{choices}: {item['help']}"
    return ", ".join(f"{name} {value}" for name, value in item.items() if value not in (None, ""))


if __name__ == "__main__":
    raise SystemExit(main())
