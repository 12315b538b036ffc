"""A whole benchmark: protocol -> runs -> tables; it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dycon_engine.benchmarking.conditions import recipe_notes
from dycon_engine.benchmarking.launching import Launch, Watch, launch
from dycon_engine.benchmarking.leak import leak_share
from dycon_engine.benchmarking.page import Benchmark, to_html, to_markdown
from dycon_engine.benchmarking.plan import PLAN, identity, require_same, resolved
from dycon_engine.benchmarking.protocol import Protocol, load_protocol, write_manifest
from dycon_engine.benchmarking.running import MARK, RunSpec, finished_results
from dycon_engine.benchmarking.tables import compare, summarize, to_csv
from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Dataset
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import make_folder, write_json, write_text
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS
from dycon_engine.settings import Table, known

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
        seeds: Of the runs of every method.
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


def benchmark(request: Request, reporter: Reporter) -> dict[str, Any]:
    """Do what is missing of the runs, write the tables of all that are finished.

    Raises:
        InputError: An unknown name or setting, or a folder with another benchmark in it.
        DyconError: Runs failed, or a table that cannot be.
    """
    _methods(request.methods)
    _check_settings(request)
    configs = _configs(request)
    protocol = load_protocol(request.protocol)
    dataset = find_cases(request.data, DataConfig())
    make_folder(request.out)
    now = identity(protocol, dataset, configs, oracle=request.leak_audit)
    plan = require_same(request.out / PLAN, _plan(request, protocol) | now)
    specs = _specs(request, protocol, dataset)
    write_json(request.out / PLAN, plan)  # data that does not fit leaves no benchmark behind
    done = sum(spec.result.exists() for spec in specs)
    reporter.stage("runs", len(specs), done=done)

    def on_done(spec: RunSpec) -> None:
        nonlocal done
        done += 1
        reporter.tell(f"{spec.name}: finished")
        reporter.advance(done)

    how = Launch(request.launcher, request.parallel, request.out / "jobs", request.options)
    try:
        launch(specs, how, Watch(on_done, reporter.check_cancelled))
    finally:
        finished = [spec for spec in specs if spec.result.exists()]
        if finished:
            write_tables(request.out, _content(request, protocol, finished))
    reporter.tell(f"Results: {request.out / 'results.html'}")
    return {"runs": len(finished), "results": str(request.out / "results.json")}


def _variants(request: Request) -> list[Variant]:
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


def _configs(request: Request) -> dict[str, Table]:
    """Return name in the tables -> all settings of its runs."""
    return {
        variant.title: resolved(request.profile, variant.method, variant.settings)
        for variant in _variants(request)
    }


def _specs(request: Request, protocol: Protocol, dataset: Dataset) -> list[RunSpec]:
    """Return the runs, all methods of a seed before the next seed, and write their manifests."""
    manifest, audited = request.out / "manifest.toml", request.out / "manifest-oracle.toml"
    write_manifest(manifest, protocol, dataset)
    if request.leak_audit:
        write_manifest(audited, protocol, dataset, oracle=True)
    test = tuple(dataset.case(name) for name in protocol.test)
    return [
        RunSpec(
            request.out / f"{variant.stem}-seed{seed}",
            audited if variant.oracle else manifest,
            test,
            method=variant.method,
            seed=seed,
            profile=request.profile,
            settings=variant.settings,
            device=request.device,
            processes=request.processes,
            title=variant.title,
        )
        for seed in request.seeds
        for variant in _variants(request)
    ]


def write_tables(out: Path, content: Benchmark) -> None:
    """Write results.md, results.html, results.json and cases.csv into `out`."""
    write_text(out / "results.md", to_markdown(content))
    write_text(out / "results.html", to_html(content))
    table = {
        "protocol": content.protocol.name,
        "notes": list(content.notes),
        "findings": list(content.findings),
        "rows": [_plain(row) for row in content.rows],
        "comparisons": [_plain(comparison) for comparison in content.comparisons],
    }
    write_json(out / "results.json", table)
    write_text(out / "cases.csv", to_csv(content.results))


def _content(request: Request, protocol: Protocol, specs: Sequence[RunSpec]) -> Benchmark:
    results = finished_results(specs)
    present = [str(result["method"]) for result in results]
    wanted = SCOPES["both"] if request.leak_audit else request.reference
    reference = wanted if wanted in present else present[0]
    return Benchmark(
        protocol=protocol,
        rows=summarize(results),
        comparisons=compare(results, reference),
        results=results,
        conditions=_conditions(request, set(present)),
        findings=leak_share(results, SCOPES) if request.leak_audit else (),
    )


def _conditions(request: Request, present: Collection[str]) -> tuple[str, ...]:
    settings = ", ".join(request.settings) or "none beside the profile"
    seeds = ", ".join(map(str, request.seeds))
    shown = {name: config for name, config in _configs(request).items() if name in present}
    common = (
        "Every method: the same split, network architecture, number of steps and loader "
        f"augmentation (profile {request.profile}; settings: {settings}), seeds {seeds}."
    )
    scored = "The last iteration is scored; nothing is chosen on the test cases."
    return common, *recipe_notes(request.profile, shown), scored


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    if list(names) == ["all"]:
        return tuple(sorted(METHODS))
    return tuple(dict.fromkeys(known(name, METHODS, "method") for name in names))


def _check_settings(request: Request) -> None:
    """Refuse what is not for the settings to decide, before the first run starts."""
    known(request.reference, METHODS, "method of --reference")
    for option, count in (
        ("--seeds", len(request.seeds)),
        ("--processes", request.processes),
        ("--parallel", request.parallel),
    ):
        if count < 1:
            raise InputError(f"{option}: found {count}, expected at least 1")
    for setting in request.settings:
        scope = request.leak_audit and setting.startswith("method.fecl_scope")
        if scope or setting.startswith(("data.", "method.name", "training.seed")):
            raise InputError(
                f"--set {setting}: the protocol and the command decide this; leave it out"
            )


def _plan(request: Request, protocol: Protocol) -> Table:
    """Return what the command says of all runs in one folder."""
    return {
        "protocol": protocol.name,
        "test": list(protocol.test),
        "training": dict(protocol.training),
        "profile": request.profile,
        "settings": list(request.settings),
        "processes": request.processes,
        "leak_audit": request.leak_audit,
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
