"""What is asked for: the rows of the tables, and what is refused before the first run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.benchmarking.plan import resolved
from dycon_engine.benchmarking.protocol import Protocol
from dycon_engine.benchmarking.running import MARK
from dycon_engine.errors import InputError
from dycon_engine.methods import METHODS
from dycon_engine.settings import Table, known

ALL = "all"
DRAWN_FROM_ALL = "training.unlabeled_cases=all"
ORACLE = "oracle"
SCOPES = {
    scope: f"dycon, FeCL {words}"
    for scope, words in (
        ("none", "off"),
        ("labeled", "on labeled"),
        ("pseudo", "on pseudo-labeled"),
        ("both", "on both"),
        (ORACLE, f"on hidden labels{MARK}"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        data: Folder with the cases of the protocol.
        out: Where runs and tables go.
        protocol: NAME-VARIANT.
        methods: Recipes, or `all`.
        seeds: Of the runs of every method, ascending.
        profile: Set of defaults.
        settings: `section.key=value` texts for all runs.
        reference: Method that the others are compared with; the first where it does not run.
        device: As of `train`.
        processes: Training processes of a run.
        launcher: here, local or slurm.
        parallel: Runs at a time with local or slurm.
        options: Of submitit.
        leak_audit: Run DyCON with every `fecl_scope` instead of the methods.
    """

    data: Path
    out: Path
    protocol: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    profile: str
    settings: tuple[str, ...]
    reference: str
    device: str
    processes: int
    launcher: str
    parallel: int
    options: dict[str, Any]
    leak_audit: bool = False


class Variant(NamedTuple):
    """What one row of the tables runs, with every seed.

    Attributes:
        stem: Of the folders of its runs.
        method: Recipe.
        settings: `section.key=value` texts.
        title: Name in the tables.
        oracle: Whether it is given the labels of unlabeled cases.
    """

    stem: str
    method: str
    settings: tuple[str, ...]
    title: str
    oracle: bool = False


def variants(request: Request) -> list[Variant]:
    """Return the rows of the tables: the methods, or DyCON with every `fecl_scope`."""
    common = request.settings
    if not request.leak_audit:
        return [Variant(name, name, common, name) for name in _methods(request.methods)]
    scopes = {scope: (*common, f"method.fecl_scope={scope}") for scope in SCOPES}
    scopes[ORACLE] = (*scopes[ORACLE], "method.unlock_oracle=true")
    return [
        Variant(f"dycon-{scope}", "dycon", scopes[scope], title, oracle=scope == ORACLE)
        for scope, title in SCOPES.items()
    ]


def configs_of(request: Request) -> dict[str, Table]:
    """Return name in the tables -> all settings of its runs."""
    return {
        variant.title: resolved(request.profile, variant.method, variant.settings)
        for variant in variants(request)
    }


def check_settings(request: Request) -> None:
    """Refuse what is not for the settings to decide, before the first run starts.

    Raises:
        InputError: An unknown method, an impossible number or such a setting.
    """
    _methods(request.methods)
    known(request.reference, METHODS, "method of --reference")
    for option, count in (
        ("--seeds", len(request.seeds)),
        ("--processes", request.processes),
        ("--parallel", request.parallel),
    ):
        if count < 1:
            raise InputError(f"{option}: found {count}, expected at least 1")
    if min(request.seeds) < 0:
        raise InputError(f"--first-seed: found {min(request.seeds)}, expected at least 0")
    for setting in request.settings:
        scope = request.leak_audit and setting.startswith("method.fecl_scope")
        if scope or setting.startswith(("data.", "method.name", "training.seed")):
            raise InputError(
                f"--set {setting}: the protocol and the command decide this; leave it out"
            )


def fitting(request: Request, protocol: Protocol) -> tuple[Request, tuple[str, ...]]:
    """Return the request for a protocol, without those of all methods that it cannot train.

    Returns:
        What is asked for, and the names of the methods of `all` that are left out.

    Raises:
        InputError: A method that was named, or the leak audit, needs unlabeled cases and the
            protocol has none.
    """
    configs = configs_of(request)
    if protocol.unlabeled:
        return request, ()
    unfit = tuple(title for title, config in configs.items() if _needs_unlabeled(config))
    if unfit and (request.leak_audit or list(request.methods) != [ALL]):
        raise InputError(
            f"protocol {protocol.name}: has no unlabeled case, but {', '.join(unfit)} "
            f"{'needs' if len(unfit) == 1 else 'need'} some; leave out what needs them, take a "
            f"protocol with fewer labels, or --set {DRAWN_FROM_ALL}"
        )
    left = tuple(name for name in _methods(request.methods) if name not in unfit)
    return replace(request, methods=left), unfit


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    if list(names) == [ALL]:
        return tuple(sorted(METHODS))
    return tuple(dict.fromkeys(known(name, METHODS, "method") for name in names))


def _needs_unlabeled(config: Table) -> bool:
    drawn_from_all = config["training"]["unlabeled_cases"] == "all"
    return METHODS[config["method"]["name"]].needs_unlabeled and not drawn_from_all
