"""The run directory: where everything of a training run lies, and whether a run may go on in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dycon_engine import __version__
from dycon_engine.config import RunConfig
from dycon_engine.data.splits import Split
from dycon_engine.data.survey import Scan
from dycon_engine.errors import InputError
from dycon_engine.jobs.client import EventTail
from dycon_engine.jobs.events import Finished, StepDone, from_line
from dycon_engine.jobs.files import require_place, write_json, write_text
from dycon_engine.jobs.lock import holder
from dycon_engine.settings import Table, as_table, build

MAY_CHANGE = frozenset(  # settings that a resumed run may have otherwise
    {
        "data.cache_gib",
        "data.order",
        "training.autosave_minutes",
        "training.compile",
        "training.device",
        "training.keep_checkpoints",
        "training.license",
        "training.preview_every",
        "training.save_every",
        "training.tensorboard",
        "training.threads",
        "training.validate_every",
        "training.workers",
    }
)


@dataclass(frozen=True)
class RunDirectory:
    """The parts of a run directory; beside `split.json`, sentences in events.jsonl name cases."""

    path: Path

    @property
    def config(self) -> Path:
        """Resolved settings and what was found about the data."""
        return self.path / "config.json"

    @property
    def split(self) -> Path:
        """Cases by role with their content hashes."""
        return self.path / "split.json"

    @property
    def versions(self) -> Path:
        """Versions of the engine and of what it stands on, at the start and where they changed."""
        return self.path / "versions.json"

    @property
    def checkpoints(self) -> Path:
        """The last checkpoints."""
        return self.path / "checkpoints"

    @property
    def package(self) -> Path:
        """Packages: last.dycon, best.dycon."""
        return self.path / "package"

    @property
    def report(self) -> Path:
        """Validation figures."""
        return self.path / "report"

    @property
    def preview(self) -> Path:
        """Predictions on one scan over the steps, and that scan."""
        return self.path / "preview"

    @property
    def cache(self) -> Path:
        """Prepared pixels; gone at every orderly end."""
        return self.path / "cache"

    @property
    def lock(self) -> Path:
        """Names the process that works here."""
        return self.path / "lock"

    def require_free(self, *, resume: bool) -> None:
        """Check that a run may start, or go on, in this folder.

        Raises:
            InputError: Another process works here; a new run would overwrite one; or there is
                none to resume.
        """
        other = holder(self.lock)
        if other is not None:
            raise InputError(
                f"'{self.path}': process {other.pid} works in this folder since {other.since}; "
                "wait for it, cancel it or choose another folder"
            )
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"'{self.path}': is a file, expected a folder; choose another")
        require_place(self.path)  # told before the data is read
        self.require_role(resume=resume)
        if resume and not self.config.exists():
            raise InputError(
                f"'{self.path}': no run to resume (config.json is missing); start it without "
                "--resume"
            )

    def require_role(self, *, resume: bool) -> None:
        """Check that a new run would not overwrite one; asked again under the lock.

        Raises:
            InputError: It would.
        """
        holds_run = self.config.exists() or bool(list(self.checkpoints.glob("*.ckpt")))
        if holds_run and not resume:
            raise InputError(
                f"'{self.path}': holds a run already; add --resume to continue it, or choose "
                "another folder"
            )

    def write_description(self, config: RunConfig, split: Split, facts: Table) -> None:
        """Write config.json and split.json; `facts` holds no names."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.split, split.to_json() + "\n")
        content = {"engine": __version__, "config": described(config), "data": facts}
        write_json(self.config, content)

    def read_config(self) -> RunConfig:
        """Return the settings the run was started with.

        Raises:
            InputError: config.json is damaged.
        """
        try:
            table = json.loads(self.config.read_text(encoding="utf-8"))["config"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"'{self.config}': cannot be read ({error}); restore it, or start a new run"
            ) from error
        return build(RunConfig, table)

    def started_from(self) -> str:
        """Return the sha256 of the package the run was started from, '' where there was none."""
        return str(self._facts().get("started_from") or "")

    def precision(self) -> str:
        """Return the number format the run was started with, '' where config.json says none."""
        return str(self._facts().get("precision") or "")

    def require_same_processes(self, world: int) -> None:
        """Check that as many processes resume the run as started it: they share each step.

        Raises:
            InputError: There are more or fewer.
        """
        before = self._facts().get("processes", world)
        if before != world:
            raise InputError(
                f"--resume with {world} training processes, the run has {before}: each step would "
                f"see other patches; start {before} (torchrun --nproc-per-node), or start a new "
                "run in another folder"
            )

    def _facts(self) -> Table:
        """Return what config.json says beside the settings; nothing where it does not."""
        try:
            facts = json.loads(self.config.read_text(encoding="utf-8"))["data"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def read_split(self) -> Split:
        """Return the split the run was started with.

        Raises:
            InputError: split.json is damaged.
        """
        try:
            text = self.split.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(
                f"'{self.split}': cannot be read ({error}); restore it, or start a new run"
            ) from error
        return Split.from_json(text)

    def logged_steps(self) -> bool:
        """Return whether events.jsonl says that a step was ever done."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return False
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return any(isinstance(from_line(line), StepDone) for line in lines)

    def ending(self) -> Table:
        """Return the summary that the run last finished with; nothing where it never did."""
        events = EventTail(self.path / "events.jsonl").read()
        return next((e.summary for e in reversed(events) if isinstance(e, Finished)), {})

    def remove_cache(self) -> bool:
        """Delete the prepared pixels; return whether they are gone."""
        shutil.rmtree(self.cache, ignore_errors=True)
        return not self.cache.exists()


def described(config: RunConfig) -> Table:
    """Return the settings as they are stored: of the files they name, the names only."""
    table = as_table(config)
    for section, name in (("data", "order"), ("training", "start_from")):
        if table[section][name]:
            table[section][name] = Path(table[section][name]).name
    return table


def as_started(stored: RunConfig, wanted: RunConfig) -> RunConfig:
    """Return the settings of a resumed run, the package it started from as stored if not said."""
    if wanted.training.start_from is not None:
        return wanted
    training = replace(wanted.training, start_from=stored.training.start_from)
    return replace(wanted, training=training)


def require_same_config(stored: RunConfig, wanted: RunConfig) -> None:
    """Check that a resumed run has the settings it was started with.

    Raises:
        InputError: Naming every setting that differs.
    """
    before, now = _flat(described(stored)), _flat(described(wanted))
    changed = [
        f"{name}: run has {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in MAY_CHANGE
    ]
    if changed:
        raise InputError(
            f"--resume with other settings ({'; '.join(changed)}); drop them, or start a new run "
            "in another folder"
        )


def require_same_data(split: Split, scans: Sequence[Scan]) -> None:
    """Check that the cases of a resumed run are there and hold the same voxels.

    Raises:
        InputError: Naming the first case that is missing or changed.
    """
    now = {scan.name: scan for scan in scans}
    for name in (*split.labeled, *split.unlabeled, *split.validation):
        if name not in now:
            raise InputError(
                f"case '{name}': belongs to this run but is not in the data any more; put it "
                "back, or start a new run"
            )
        if not now[name].problem and now[name].sha256 != split.sha256.get(name, ""):
            raise InputError(
                f"case '{name}': its voxels changed since the run began; put the old scan back, "
                "or start a new run"
            )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values
