"""How far a training run is: a bar on the terminal and, inside a Prefect run, a progress artifact."""

import time
from types import TracebackType
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blocks.run import create_progress, update_progress

UPDATE_INTERVAL_S = 2.0


class TrainingProgress:
    """Counts optimiser steps; the Prefect artifact is updated every two seconds at most."""

    def __init__(self, title: str, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._title = title
        self._updated = 0.0
        self._artifact: UUID | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(title, total=steps)

    def __enter__(self) -> "TrainingProgress":
        self._artifact = create_progress("training-progress", self._title)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._publish()

    def step(self) -> None:
        """Count one more step."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if time.monotonic() - self._updated > UPDATE_INTERVAL_S:
            self._publish()

    def describe(self, text: str) -> None:
        """Put another text beside the bar."""
        self._title = text
        self._bar.update(self._task, description=text)
        self._publish()

    def _publish(self) -> None:
        self._updated = time.monotonic()
        if self._artifact is not None:
            update_progress(self._artifact, 100.0 * self._done / self._steps, self._title)
