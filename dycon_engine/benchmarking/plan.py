"""What makes the runs in one folder comparable: kept beside them, asked before one is added."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine import __version__
from dycon_engine.benchmarking.protocol import Protocol
from dycon_engine.config import resolve
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import sha256_of
from dycon_engine.methods import METHODS
from dycon_engine.settings import Table, as_table, build
from dycon_engine.sources import source_digest

PLAN = "benchmark.json"
MOST_NAMED = 3


def identity(
    protocol: Protocol, dataset: Dataset, configs: Mapping[str, Table], *, oracle: bool = False
) -> Table:
    """Return what results depend on beside the command: engine and its code, data, settings.

    Args:
        protocol: Says which cases are used.
        dataset: Where they are.
        configs: Name in the tables -> settings, as of `resolved`.
        oracle: Whether a run sees the labels of unlabeled cases; else these are not opened.

    Raises:
        InputError: A file cannot be read.
    """
    used = {**protocol.training, **dict.fromkeys(protocol.test, "test")}
    data = {
        case.name: _hash(case, labeled=oracle or used[case.name] != "unlabeled")
        for case in dataset.cases
        if case.name in used
    }
    state = {"engine": __version__, "source": source_digest()}
    return {**state, "data": data, "configs": dict(configs)}


def resolved(profile: str, method: str, settings: Sequence[str]) -> Table:
    """Return all settings of such a run, the method's own ones too.

    Raises:
        InputError: One is unknown or impossible.
    """
    config = resolve(profile, (), (*settings, f"method.name={method}"))
    try:
        own = build(METHODS[method].Config, config.method.settings, "method")
    except InputError as error:
        raise InputError(f"{error} (of {method}; see --methods)") from None
    return as_table(config) | {"method": {"name": method, **as_table(own)}}


def require_same(path: Path, plan: Table) -> Table:
    """Refuse to mix runs of another protocol, data, engine or setting with those that are there.

    A file from before data, engine, its code and settings were kept is taken with what it has.

    Returns:
        `plan`, with the settings of what ran in this folder before and is not asked for now.

    Raises:
        InputError: They differ, or the file `path` that describes them is damaged.
    """
    if not path.exists():
        return plan
    stored = _read(path)
    differing = _differing(stored, plan)
    if differing:
        raise InputError(
            f"'{path.parent}': holds a benchmark with another {' and '.join(differing)}; choose "
            "another --out, or go on with the same engine, data and options"
        )
    return plan | {"configs": {**stored["configs"], **plan["configs"]}}


def former(path: Path) -> str:
    """Return a sentence where the file `path` is from before the state of the code was kept.

    Raises:
        InputError: It is damaged.
    """
    if not path.exists() or "source" in _read(path):
        return ""
    return (
        f"'{path.parent}': holds a benchmark from before the state of the engine's code was kept; "
        "of its finished runs it is not known, the tables say so"
    )


def _read(path: Path) -> Table:
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
        tables = {name: dict(stored.get(name, {})) for name in ("data", "configs")}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"'{path}': cannot be read ({error}); choose another --out") from error
    return stored | tables


def _differing(stored: Table, plan: Table) -> list[str]:
    """Return what differs, in words; single settings only where the command does not say it."""
    kept = ("engine", "source", "data", "configs")
    options = [name for name in plan if name not in kept and stored.get(name) != plan[name]]
    if "protocol" in options:  # which decides about cases, too
        return [f"protocol ({stored.get('protocol')})"]
    before = stored.get("engine", plan["engine"])
    engine = [] if before == plan["engine"] else [f"engine ({before}, now {plan['engine']})"]
    code = stored.get("source", plan["source"])
    now = f"now {plan['source']}: check out the commit of then"
    source = [] if code == plan["source"] else [f"state of the engine's code ({code}, {now})"]
    settings = [] if options else _settings_apart(stored["configs"], plan["configs"])
    return [*options, *engine, *source, *_data_apart(stored["data"], plan["data"]), *settings]


def _data_apart(stored: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return how many cases that both have are others."""
    changed = [name for name, found in now.items() if stored.get(name, found) != found]
    if not changed:
        return []
    return [f"data (files of {len(changed)} of {len(now)} cases differ, first '{changed[0]}')"]


def _settings_apart(stored: Mapping[str, Table], now: Mapping[str, Table]) -> list[str]:
    """Return which settings of runs that both have are others."""
    apart = {name: _leaves(stored.get(name, config), config) for name, config in now.items()}
    return [f"setting of {name} ({_some(leaves)})" for name, leaves in apart.items() if leaves]


def _leaves(one: Any, other: Any, where: str = "") -> list[str]:
    """Return the dotted names of all that two nested tables do not have alike."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return [] if one == other else [where]
    return [
        leaf
        for name in dict.fromkeys((*one, *other))
        for leaf in _leaves(one.get(name), other.get(name), f"{where}.{name}".lstrip("."))
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _hash(case: Case, *, labeled: bool) -> str:
    """Return the sha256 of a case's files as they lie on disk: a hundred scans in seconds."""
    digest = hashlib.sha256()
    label = (case.label,) if labeled and case.label is not None else ()
    for path in (*case.images, *label):
        try:
            digest.update("".join(sha256_of(file) for file in _files(path)).encode())
        except OSError as error:
            raise InputError(
                f"case '{case.name}': '{path}' cannot be read ({error.strerror}); check the data"
            ) from error
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Yield `path`, or the files of a DICOM folder."""
    yield from (
        sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    )
