"""A whole training run: data -> audit -> preparation -> loop -> validation -> packages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dycon_engine.config import RunConfig
from dycon_engine.data.cases import Case
from dycon_engine.data.hidden import ORACLE_NOTICE
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import apply_split
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import make_folder
from dycon_engine.jobs.lock import RunLock
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods.base import Method
from dycon_engine.methods.collapse import CollapseWatch, cure
from dycon_engine.networks.devices import device_name, peak_memory_mib
from dycon_engine.settings import Table
from dycon_engine.training.checkpoint import CheckpointStore
from dycon_engine.training.compiling import compile_networks
from dycon_engine.training.distributed import Process, configure, start_process
from dycon_engine.training.loop import Loop, Standing
from dycon_engine.training.packaging import Packager
from dycon_engine.training.parts import (
    Plan,
    make_batches,
    make_method,
    make_plan,
    make_trial,
    prepare,
)
from dycon_engine.training.preview import Previewer
from dycon_engine.training.resuming import finished, go_on, nothing_left
from dycon_engine.training.rundir import (
    RunDirectory,
    as_started,
    require_same_config,
)
from dycon_engine.training.shipping import networks_of, start_from
from dycon_engine.training.tensorboard import open_tensorboard
from dycon_engine.training.trainer import Trainer
from dycon_engine.training.validation import Validator
from dycon_engine.training.versions import note_versions


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        data: Folder or manifest of the cases.
        run_dir: Where everything of the run lies.
        resume: Whether to go on with the run that lies there.
        choose: Returns the settings, from those stored where a run is resumed.
    """

    data: Path
    run_dir: Path
    resume: bool
    choose: Callable[[RunConfig | None], RunConfig]


def train(request: Request, reporter: Reporter) -> Table:
    """Do the run and return the summary of its terminal event.

    Raises:
        DyconError: One line; the reporter leaves out the folders above data and run, whose names
            may tell who the patients are. What was written until then can be resumed.
    """
    reporter.cut_folders(request.data, request.run_dir)  # it stays in the folder of the run
    return _run(request, reporter)


def _run(request: Request, reporter: Reporter) -> Table:
    run = RunDirectory(request.run_dir)
    run.require_free(resume=request.resume)
    stored = run.read_config() if request.resume else None
    config = request.choose(stored)
    if stored is not None:
        config = as_started(stored, config)
        require_same_config(stored, config)
    configure(config.training)
    _require_patch(make_trial(config), config)
    with ExitStack() as stack:
        on_notice = partial(reporter.warn, "device")
        process = stack.enter_context(start_process(config.training, on_notice))
        if request.resume:
            run.require_same_processes(process.world)
        resumed = run.read_split() if request.resume else None

        def planned() -> Plan | Table:
            if run.path.is_dir():  # from here on it tells how far it is, and hears `cancel`
                _take(run, stack, reporter, resume=request.resume)
            done = None if resumed is None else finished(run, config, resumed)
            if done is not None:
                return done
            dataset = find_cases(request.data, config.data)
            reporter.hide(case.name for case in dataset.cases)
            plan = make_plan(dataset, config, reporter, resumed=resumed)
            if reporter.run_dir is None:  # nothing is written for data that cannot be used
                make_folder(run.path)
                _take(run, stack, reporter, resume=request.resume)
            return plan

        plan = process.from_main(planned)
        process.wait()
        if not isinstance(plan, Plan):
            if process.is_main:
                reporter.tell(nothing_left(config))
            return plan
        reporter.computes_on(str(process.device), device_name(process.device))
        return _train(request, run, plan, process, reporter)


def _train(
    request: Request, run: RunDirectory, plan: Plan, process: Process, reporter: Reporter
) -> Table:
    config = plan.config
    packager = _packager(run, plan, reporter)
    method = make_method(plan)
    if request.resume:
        packager.started_from = run.started_from()
    else:
        packager.started_from = _start(method, plan, reporter)
    if method.sees_hidden_labels:
        reporter.warn("oracle", ORACLE_NOTICE)
    trainer = Trainer(method, config.training, process)
    packager.require_possible(trainer)
    if request.resume and run.precision() not in ("", trainer.precision.name):
        reporter.warn(
            "precision",
            f"the run was started in {run.precision()} and goes on in {trainer.precision.name}: "
            "its numbers will differ a little from those on the first machine",
        )
    if process.is_main and not request.resume:
        run.write_description(config, plan.split, packager.facts(trainer))
    if process.is_main:
        note_versions(run.versions)
    data = process.main_first(lambda: prepare(plan, run.cache, reporter))
    packager.seen = data.seen
    validator = Validator(
        cases=_validation_cases(plan),
        labels=plan.audit.labels,
        preprocessing=packager.preprocessing,
        config=config,
        process=process,
        reporter=reporter,
    )
    loop = Loop(
        trainer=trainer,
        batches=make_batches(plan, data, trainer),
        store=CheckpointStore(run.checkpoints, keep=config.training.keep_checkpoints),
        reporter=reporter,
        standing=packager.standing,
        validate=lambda: packager.validated(validator, trainer),
        collapse=CollapseWatch(cure(method.config)),
    )
    previewer = _previewer(run, plan, process, reporter)
    if previewer is not None:
        loop.preview = lambda step: previewer.after_step(step, method.predictor())
    if request.resume and not go_on(loop, run, reporter):
        _start_again(method, plan, reporter, packager.started_from)
    if config.training.compile:
        compile_networks(trainer, reporter)
    with open_tensorboard(run.path, config.training, process, reporter) as board:
        loop.on_step = board.step
        loop.run()
    summary = packager.finish(validator, trainer)
    if method.sees_hidden_labels:
        summary |= {"oracle": True, "notice": ORACLE_NOTICE}
    return summary | loop.speed.summary() | {"peak_memory_mib": peak_memory_mib(process.device)}


def _require_patch(method: Method, config: RunConfig) -> None:
    """Check that the networks can take the patch.

    Raises:
        InputError: Its size is no multiple of their stride.
    """
    patch = config.training.patch_size
    for network in networks_of(method):
        if any(size % step for size, step in zip(patch, network.stride, strict=True)):
            nearest = [max(1, round(p / s)) * s for p, s in zip(patch, network.stride, strict=True)]
            raise InputError(
                f"training.patch_size: found {list(patch)}, expected multiples of "
                f"{list(network.stride)} for this network; take e.g. {nearest}"
            )


def _take(run: RunDirectory, stack: ExitStack, reporter: Reporter, *, resume: bool) -> None:
    """Lock the folder of the run until `stack` ends, and report into it.

    Raises:
        InputError: Another process has it, or it holds another run.
    """
    stack.enter_context(RunLock(run.lock))
    run.require_role(resume=resume)
    reporter.attach(run.path)
    stack.callback(_remove_cache, run, reporter)


def _previewer(
    run: RunDirectory, plan: Plan, process: Process, reporter: Reporter
) -> Previewer | None:
    """Return what shows how training goes on; None where that is not wanted or there is no scan."""
    if not plan.config.training.preview_every or not process.is_main:
        return None
    names = (*plan.split.unlabeled, *plan.split.validation)
    if not names:
        reporter.warn("preview", "no previews: there is neither an unlabeled nor a validation case")
        return None
    return Previewer(
        folder=run.preview,
        case=apply_split(plan.dataset, plan.split).case(names[0]),
        labels=plan.audit.labels,
        preprocessing=plan.audit.preprocessing(plan.config),
        config=plan.config,
        device=process.device,
        reporter=reporter,
    )


def _packager(run: RunDirectory, plan: Plan, reporter: Reporter) -> Packager:
    return Packager(
        run=run,
        config=plan.config,
        split=plan.split,
        audit=plan.audit,
        layout=plan.dataset.layout,
        preprocessing=plan.audit.preprocessing(plan.config),
        reporter=reporter,
        standing=Standing(),
    )


def _start(method: Method, plan: Plan, reporter: Reporter) -> str:
    """Load the weights that training starts from, if any; return the sha256 of their package."""
    name = plan.config.training.start_from
    if name is None:
        return ""
    start = start_from(Path(name), method, config=plan.config, found=plan.audit)
    for note in start.notes:
        reporter.warn("start", note)
    return start.sha256


def _start_again(method: Method, plan: Plan, reporter: Reporter, sha256: str) -> None:
    """Load the weights that a run started from, which has no step yet.

    Raises:
        InputError: Their package is not the one of `sha256`.
    """
    if _start(method, plan, reporter) != sha256:
        raise InputError(
            f"package '{Path(str(plan.config.training.start_from)).name}': is not the one that the "
            f"run started from (its sha256 began with {sha256[:12]}); give that one as --package"
        )


def _validation_cases(plan: Plan) -> tuple[Case, ...]:
    visible = apply_split(plan.dataset, plan.split)
    return tuple(visible.case(name) for name in plan.split.validation)


def _remove_cache(run: RunDirectory, reporter: Reporter) -> None:
    if not run.remove_cache():
        reporter.warn("cache", "prepared scans could not be deleted; delete the run's cache folder")
