"""Launches on their way to the engine: most at once, those that are owed secrets when their values are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from batchyard.clock import Clock
from batchyard.core import reasons
from batchyard.core.effects import LaunchAttempt
from batchyard.core.inputs import AttemptExited, AttemptRecalled, Report
from batchyard.engines.base import Engine
from batchyard.exceptions import SecretError
from batchyard.runtime.launch import Launcher
from batchyard.runtime.secrets import Secrets


class Launches:
    """Begins attempts whose jobs the launcher has prepared. A store of secrets that is slow delays no other job."""

    def __init__(
        self,
        launcher: Launcher,
        engine: Engine,
        secrets: Secrets,
        clock: Clock,
        report: Callable[[Sequence[Report]], None],
    ) -> None:
        self._launcher = launcher
        self._engine = engine
        self._secrets = secrets
        self._clock = clock
        self._report = report
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def begin(self, effects: Sequence[LaunchAttempt]) -> bool:
        """Launch now what needs no secrets; whether there was any. ValueError only for an id that can't be one."""
        ready = []
        for effect in effects:
            sources = self._launcher.secret_sources(effect)
            if not sources:
                ready.append(self._launcher.launch(effect))
            elif effect.attempt_id not in self._waiting:
                self._wait(effect, sources)
        if ready:
            self._engine.launch(ready)
        return bool(ready)

    def _wait(self, effect: LaunchAttempt, sources: Sequence[str]) -> None:
        attempt_id = effect.attempt_id
        task = asyncio.create_task(self._begin_with_secrets(effect, sources), name=f"secrets of {attempt_id}")
        self._waiting[attempt_id] = task
        task.add_done_callback(lambda done: self._over(attempt_id, done))

    def _over(self, attempt_id: str, task: asyncio.Task[None]) -> None:
        if self._waiting.get(attempt_id) is task:
            del self._waiting[attempt_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(attempt_id, reasons.secrets_missing(f"{type(error).__name__}: {error}"))

    async def _begin_with_secrets(self, effect: LaunchAttempt, sources: Sequence[str]) -> None:
        # Made first: the job may have left the launcher's cache by the time that the values are there.
        launch, secrets = self._launcher.launch(effect), self._launcher.secrets(effect)
        try:
            values = await self._secrets.resolve(sources)
        except SecretError as error:
            self._fail(effect.attempt_id, reasons.secrets_missing(str(error)))
            return
        self._engine.launch([self._launcher.with_secrets(launch, secrets, values)])

    def stop(self, attempt_id: str) -> bool:
        """Whether the attempt was still waiting for its secrets: it will not be launched."""
        task = self._waiting.pop(attempt_id, None)
        if task is None:
            return False
        task.cancel()
        self._fail(attempt_id, reasons.cannot_start("stopped before it was started"))
        return True

    def recall(self, attempt_ids: Sequence[str]) -> None:
        """Drop launches that wait: for their secrets here, for room at the engine."""
        waiting = [attempt_id for attempt_id in attempt_ids if attempt_id in self._waiting]
        for attempt_id in waiting:
            self._waiting.pop(attempt_id).cancel()
        if waiting:
            self._report([AttemptRecalled(attempt_id, self._clock.now_ms()) for attempt_id in waiting])
        launched = [attempt_id for attempt_id in attempt_ids if attempt_id not in waiting]
        if launched:
            self._engine.recall(launched)

    def _fail(self, attempt_id: str, reason: str) -> None:
        self._report([AttemptExited(attempt_id, self._clock.now_ms(), None, reason, started=False)])

    def close(self) -> None:
        """Forget what waits: it is launched by the next start."""
        for task in self._waiting.values():
            task.cancel()
