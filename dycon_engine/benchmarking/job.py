"""A whole benchmark: protocol -> runs -> tables; it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.benchmarking.conditions import recipe_notes
from dycon_engine.benchmarking.launching import Launch, Watch, launch
from dycon_engine.benchmarking.leak import leak_share
from dycon_engine.benchmarking.page import Benchmark, to_html, to_markdown
from dycon_engine.benchmarking.plan import PLAN, former, identity, require_same
from dycon_engine.benchmarking.protocol import Protocol, load_protocol, write_manifest
from dycon_engine.benchmarking.request import (
    DRAWN_FROM_ALL,
    SCOPES,
    Request,
    check_settings,
    configs_of,
    fitting,
    variants,
)
from dycon_engine.benchmarking.running import RunSpec, finished_results
from dycon_engine.benchmarking.tables import compare, summarize, to_csv
from dycon_engine.config import DataConfig
from dycon_engine.data.cases import Dataset
from dycon_engine.data.layouts import find_cases
from dycon_engine.jobs.files import make_folder, write_json, write_text
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.settings import Table


def benchmark(request: Request, reporter: Reporter) -> dict[str, Any]:
    """Do what is missing of the runs, write the tables of all that are finished.

    Raises:
        InputError: An unknown name or setting, or a folder with another benchmark in it.
        DyconError: Runs failed, or a table that cannot be.
    """
    check_settings(request)
    protocol = load_protocol(request.protocol)
    request, left_out = fitting(request, protocol)
    dataset = find_cases(request.data, DataConfig())
    make_folder(request.out)
    now = identity(protocol, dataset, configs_of(request), oracle=request.leak_audit)
    plan = require_same(request.out / PLAN, _plan(request, protocol) | now)
    specs = _specs(request, protocol, dataset)
    for line in filter(None, (_left_out(protocol, left_out), former(request.out / PLAN))):
        reporter.tell(line)
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
        for variant in variants(request)
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
    shown = {name: config for name, config in configs_of(request).items() if name in present}
    common = (
        "Every method: the same split, network architecture, number of steps and loader "
        f"augmentation (profile {request.profile}; settings: {settings}), seeds {seeds}."
    )
    scored = "The last iteration is scored; nothing is chosen on the test cases."
    return common, *recipe_notes(request.profile, shown), scored


def _left_out(protocol: Protocol, methods: Sequence[str]) -> str:
    if not methods:
        return ""
    return (
        f"left out, protocol {protocol.name} has no unlabeled case: {', '.join(methods)}; "
        f"--set {DRAWN_FROM_ALL} lets them draw from the labeled ones"
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
