"""A whole benchmark: protocol -> runs -> tables; it goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.benchmarking.launching import Launch, Watch, launch
from dycon_engine.benchmarking.page import Benchmark, to_html, to_markdown
from dycon_engine.benchmarking.protocol import Protocol, load_protocol, write_manifest
from dycon_engine.benchmarking.running import MARK, RunSpec, finished_results
from dycon_engine.benchmarking.tables import compare, leak_share, summarize, to_csv
from dycon_engine.config import DataConfig, resolve
from dycon_engine.data.cases import Dataset
from dycon_engine.data.layouts import find_cases
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import make_folder, write_json, write_text
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS
from dycon_engine.settings import Table, build, known

PLAN = "benchmark.json"
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
    options: dict[str, str]
    leak_audit: bool = False


def benchmark(request: Request, reporter: Reporter) -> dict[str, Any]:
    """Do what is missing of the runs, write the tables of all that are finished.

    Raises:
        InputError: An unknown name or setting, or a folder with another benchmark in it.
        DyconError: Runs failed, or a table that cannot be.
    """
    _methods(request.methods)
    _check_settings(request)
    protocol = load_protocol(request.protocol)
    dataset = find_cases(request.data, DataConfig())
    make_folder(request.out)
    plan = _plan(request, protocol)
    require_same(request.out / PLAN, plan)
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


def _specs(request: Request, protocol: Protocol, dataset: Dataset) -> list[RunSpec]:
    """Return the runs, all methods of a seed before the next seed, and write their manifests."""
    manifest, audited = request.out / "manifest.toml", request.out / "manifest-oracle.toml"
    write_manifest(manifest, protocol, dataset)
    if request.leak_audit:
        write_manifest(audited, protocol, dataset, oracle=True)
    common: Table = {
        "test": tuple(dataset.case(name) for name in protocol.test),
        "profile": request.profile,
        "device": request.device,
        "processes": request.processes,
    }
    specs = []
    for seed in request.seeds:
        if not request.leak_audit:
            for method in _methods(request.methods):
                folder = request.out / f"{method}-seed{seed}"
                specs.append(
                    RunSpec(
                        folder,
                        manifest,
                        method=method,
                        seed=seed,
                        settings=request.settings,
                        **common,
                    )
                )
            continue
        for scope, title in SCOPES.items():
            settings = (*request.settings, f"method.fecl_scope={scope}")
            if scope == ORACLE:
                settings = (*settings, "method.unlock_oracle=true")
            specs.append(
                RunSpec(
                    request.out / f"dycon-{scope}-seed{seed}",
                    audited if scope == ORACLE else manifest,
                    method="dycon",
                    seed=seed,
                    settings=settings,
                    title=title,
                    **common,
                )
            )
    return specs


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
        conditions=_conditions(request),
        findings=leak_share(results, SCOPES) if request.leak_audit else (),
    )


def _conditions(request: Request) -> tuple[str, ...]:
    settings = ", ".join(request.settings) or "none beside the profile"
    seeds = ", ".join(map(str, request.seeds))
    return (
        f"Every method: the same split, network, budget and augmentation (profile "  # noqa: ISC004
        f"{request.profile}; settings: {settings}), seeds {seeds}.",
        "The last iteration is scored; nothing is chosen on the test cases.",
    )


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    if list(names) == ["all"]:
        return tuple(sorted(METHODS))
    return tuple(dict.fromkeys(known(name, METHODS, "method") for name in names))


def _check_settings(request: Request) -> None:
    """Refuse settings that no run could have, before the first of them starts."""
    known(request.reference, METHODS, "method of --reference")
    for option, count in (
        ("--seeds", len(request.seeds)),
        ("--processes", request.processes),
        ("--parallel", request.parallel),
    ):
        if count < 1:
            raise InputError(f"{option}: found {count}, expected at least 1")
    for method in ("dycon",) if request.leak_audit else _methods(request.methods):
        config = resolve(request.profile, (), (*request.settings, f"method.name={method}"))
        try:
            build(METHODS[method].Config, config.method.settings, "method")
        except InputError as error:
            raise InputError(f"{error} (of {method}; see --methods)") from None
    for setting in request.settings:
        scope = request.leak_audit and setting.startswith("method.fecl_scope")
        if scope or setting.startswith(("data.", "method.name", "training.seed")):
            raise InputError(
                f"--set {setting}: the protocol and the command decide this; leave it out"
            )


def _plan(request: Request, protocol: Protocol) -> Table:
    """Return what all runs in one folder have in common."""
    return {
        "protocol": protocol.name,
        "test": list(protocol.test),
        "training": dict(protocol.training),
        "profile": request.profile,
        "settings": list(request.settings),
        "processes": request.processes,
        "leak_audit": request.leak_audit,
    }


def require_same(path: Path, plan: Table) -> None:
    """Refuse to mix runs of another protocol, profile or setting with those that are there.

    Raises:
        InputError: They differ, or the file `path` that describes them is damaged.
    """
    if not path.exists():
        return
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"'{path}': cannot be read ({error}); choose another --out") from error
    differing = [name for name, value in plan.items() if stored.get(name) != value]
    if "protocol" in differing:  # which decides about cases, too
        differing = [f"protocol ({stored.get('protocol')})"]
    if differing:
        raise InputError(
            f"'{path.parent}': holds a benchmark with another {' and '.join(differing)}; choose "
            "another --out, or the same options to go on"
        )


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
