"""Following the runs of a data set: histories, charts, previews, and what to make of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Event
from DyCONTrainingLib.advice import Advice, Mood, judge
from DyCONTrainingLib.charts import Charts
from DyCONTrainingLib.history import History
from DyCONTrainingLib.previews import Previews
from DyCONTrainingLib.run_card import Standing
from DyCONTrainingLib.runs import Runs

CHARTS_EVERY_S = 2.0


class Watch:
    """The run that the person looks at, and the histories of all that were followed.

    Attributes:
        name: The run, "" = none.
    """

    def __init__(self, runs: Runs, clock: Callable[[], float] = time.time) -> None:
        """Follow nothing yet; `clock` gives seconds since the epoch."""
        self._runs, self._clock = runs, clock
        self._histories: dict[str, History] = {}
        self._states: dict[str, RunState] = {}
        self._charts: Charts | None = None
        self._previews: Previews | None = None
        self._drawn_at, self._heard = 0.0, False
        self.name = ""

    def follow(self, name: str) -> None:
        """Look at a run from its beginning.

        Raises:
            InputError: It is not there any more.
        """
        job = self._runs.follow(name)
        self.leave()
        self.name = name
        if name not in self._histories:
            history = self._histories[name] = History()
            history.add([*job.earlier, *job.poll()])
            self._states[name] = job.state
        self._charts = Charts(name)
        self._previews = Previews(self._runs.path / name, self._runs.folder.content.classes)
        self._heard = True
        self.draw()

    def take(self, said: Mapping[str, Sequence[Event]]) -> list[str]:
        """Take what the followed runs said; return the names of those that ended just now."""
        ended = []
        for name, events in said.items():
            job = self._runs.follow(name)
            if name not in self._histories:
                self._histories[name] = History()
                self._histories[name].add(job.earlier)
            self._histories[name].add(events)
            if self._states.get(name) is RunState.RUNNING and job.state is not RunState.RUNNING:
                ended.append(name)
            self._states[name] = job.state
            self._heard = self._heard or (name == self.name and bool(events))
        if self._clock() - self._drawn_at >= CHARTS_EVERY_S or self.name in ended:
            self.draw()
        return ended

    @property
    def history(self) -> History:
        """Return the history of the run that is looked at."""
        return self._histories.get(self.name, History())

    @property
    def charts(self) -> Charts | None:
        """Return its charts, None where no run is looked at."""
        return self._charts

    @property
    def previews(self) -> Previews | None:
        """Return its previews, None where no run is looked at."""
        return self._previews

    def advice(self) -> Advice:
        """Return how it is doing, in plain words."""
        if not self.name:
            return Advice(Mood.CALM, "")
        card = self._runs.card(self.name)
        state = RunState.RUNNING if card.is_alive else self._runs.follow(self.name).state
        settings = card.request.settings if card.request else {}
        found = judge(
            self.history,
            state,
            self._clock(),
            entropy=settings.get("method.entropy_coefficient", 0.0),
        )
        if card.sentence and state in (RunState.FAILED, RunState.ABSENT):
            waits = card.standing is Standing.QUEUED
            return Advice(Mood.CALM if waits else Mood.BAD, card.sentence)
        return found

    def draw(self) -> None:
        """Bring charts and previews up to date, where something new was heard."""
        if not self._heard or self._charts is None or self._previews is None:
            return
        self._drawn_at, self._heard = self._clock(), False
        self._charts.update(self.history)
        self._previews.update(self.history.previews())

    def forget(self, name: str) -> None:
        """Begin anew with a run: it was deleted, or goes on in another process."""
        if name == self.name:
            self.leave()
        self._histories.pop(name, None)
        self._states.pop(name, None)

    def leave(self) -> None:
        """Stop looking; charts and previews leave the scene, the run goes on."""
        for shown in (self._charts, self._previews):
            if shown is not None:
                shown.remove()
        self._charts = self._previews = None
        self.name = ""
