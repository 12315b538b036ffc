"""Going on with a run: from its newest checkpoint, or not at all where it is done."""

from __future__ import annotations

from dycon_engine.config import RunConfig
from dycon_engine.data.splits import Split
from dycon_engine.errors import InputError
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.package import read_info
from dycon_engine.pictures.page import count
from dycon_engine.settings import Table
from dycon_engine.training.checkpoint import CheckpointStore
from dycon_engine.training.loop import Loop
from dycon_engine.training.packaging import LAST
from dycon_engine.training.rundir import RunDirectory


def finished(run: RunDirectory, config: RunConfig, split: Split) -> Table | None:
    """Return the summary of a run that did all its steps and left what it promised, else None."""
    summary = run.ending()
    if summary.get("steps") != config.training.steps:
        return None
    if config.training.steps not in CheckpointStore(run.checkpoints, keep=1).steps():
        return None
    if split.validation and not ("dice" in summary and (run.report / "validation.json").exists()):
        return None
    try:
        info = read_info(run.package / f"{LAST}.dycon")
    except InputError:
        return None
    return summary if config.training.license in (None, info.license) else None


def nothing_left(config: RunConfig) -> str:
    """Return what a person who resumes a finished run is told."""
    return (
        f"All {count(config.training.steps, 'step')} are done; for more start a new run with "
        f"--package and the package/{LAST}.dycon of this one"
    )


def go_on(loop: Loop, run: RunDirectory, reporter: Reporter) -> bool:
    """Load the newest good checkpoint; never start anew in silence.

    Returns whether there was one; a run that ended before its first step has none, nor has a folder
    that holds no more than config.json and split.json of another one.

    Raises:
        InputError: Steps were done, but no checkpoint is left.
    """
    content = loop.store.load_newest(lambda text: reporter.warn("checkpoint", text))
    if content is not None:
        loop.load(content)
        return True
    if run.logged_steps():
        raise InputError(
            f"'{run.checkpoints}': steps were done but no checkpoint is left; restore the folder "
            "or start a new run in another folder"
        )
    reporter.warn(
        "resume",
        "no step of this run is here: it ended before the first, or its config.json and split.json "
        "were copied to do it again; starting at step 0 with its settings and its split",
    )
    return False
