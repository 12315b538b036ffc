"""What each part of the recipe of DyCON adds: one setting changed at a time, equal steps.

    python benchmarks/ablation.py --data LA2018 --out RUNS --labels 4 [--steps 1500] [--seeds 0] \
        [--variants recipe "no mixing" ...] [--launcher local --parallel 2]

Scores the last iteration on the 8 cases of the protocol la-dev, validation cases of the published
training list: the test cases are not touched. Stopped, the same command goes on run by run; writes
results.md and what belongs to it into --out, with all variants whose runs are finished. A folder
holds one budget and one recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dycon_engine.benchmarking.job import write_tables
from dycon_engine.benchmarking.launching import LAUNCHERS, Launch, Watch, launch
from dycon_engine.benchmarking.page import Benchmark
from dycon_engine.benchmarking.plan import PLAN, identity, require_same, resolved
from dycon_engine.benchmarking.protocol import Protocol, load_protocol, write_manifest
from dycon_engine.benchmarking.running import RunSpec, finished_results
from dycon_engine.benchmarking.tables import compare, summarize
from dycon_engine.config import RECIPES, DataConfig
from dycon_engine.data.layouts import find_cases
from dycon_engine.jobs.files import write_json

RECIPE = "recipe"
PROFILE = "laptop"
TURNED = ("method.strong_geometry=1", "augmentation.unlabeled=false")
VARIANTS: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    "no mixing": ("method.mixing=0",),
    "mixing .5": ("method.mixing=0.5",),
    "no pseudo-labels": ("method.pseudo_label_weight=0",),
    "no UnCL": ("method.use_uncl=false",),
    "FeCL on both": ("method.fecl_scope=both",),
    "FeCL on both, tau .15, gamma 0": (
        "method.fecl_scope=both",
        "method.tau=0.15",
        "method.gamma=0",
    ),
    "from the first step": ("method.start=0", "method.rampup=0.5"),
    "turned views": TURNED,
    "turned views, no mixing": ("method.mixing=0", *TURNED),
    "boundary term .5": ("method.boundary_weight=0.5",),
    "no deep supervision": ("method.deep_supervision=0",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--launcher", choices=LAUNCHERS, default="here")
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args()
    protocol = load_protocol(f"la-dev-{options.labels}")
    dataset = find_cases(options.data, DataConfig())
    options.out.mkdir(parents=True, exist_ok=True)
    common = (f"training.steps={options.steps}", "training.threads=1")
    plan = {"protocol": protocol.name, "settings": list(common), RECIPE: RECIPES[PROFILE]["dycon"]}
    configs = {
        variant: resolved(PROFILE, "dycon", (*common, *VARIANTS[variant]))
        for variant in options.variants
    }
    plan = require_same(options.out / PLAN, plan | identity(protocol, dataset, configs))
    write_json(options.out / PLAN, plan)
    manifest = options.out / "manifest.toml"
    write_manifest(manifest, protocol, dataset)
    test = tuple(dataset.case(name) for name in protocol.test)

    def spec(variant: str, seed: int) -> RunSpec:
        name = "".join(c if c.isalnum() else "-" for c in variant)
        return RunSpec(
            options.out / f"{name}-seed{seed}",
            manifest,
            test,
            method="dycon",
            seed=seed,
            profile=PROFILE,
            settings=(*common, *VARIANTS[variant]),
            title=variant,
        )

    specs = [spec(variant, seed) for seed in options.seeds for variant in options.variants]
    how = Launch(options.launcher, options.parallel, options.out / "jobs")
    try:
        launch(specs, how, Watch(lambda done: print(done.name, flush=True), lambda: None))
    finally:
        every = [spec(variant, seed) for variant in VARIANTS for seed in options.seeds]
        tables(options.out, protocol, every)


def tables(out: Path, protocol: Protocol, specs: list[RunSpec]) -> None:
    """Write the tables of all runs that are finished, also those of earlier calls."""
    results = finished_results(specs)
    if not results:
        return
    present = [str(result["method"]) for result in results]
    recipe = ", ".join(f"{name} = {value}" for name, value in RECIPES[PROFILE]["dycon"].items())
    content = Benchmark(
        protocol=protocol,
        rows=summarize(results),
        comparisons=compare(results, RECIPE if RECIPE in present else present[0]),
        results=results,
        conditions=(
            f"DyCON, profile {PROFILE}, {', '.join(specs[0].settings)}; the recipe: {recipe}.",
            "Each row changes what its name says.",
            "The last iteration is scored.",
        ),
    )
    write_tables(out, content)


if __name__ == "__main__":
    main()
