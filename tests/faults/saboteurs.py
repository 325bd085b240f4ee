"""Servers and worlds with one rule broken each: the oracle must find every one of them out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs
from sqlalchemy import Connection

from batchyard.core.effects import LaunchAttempt
from batchyard.core.inputs import AttemptExited, AttemptStarted, Input, Report
from batchyard.core.outcome import Outcome
from batchyard.engines.base import Held, Launch
from batchyard.exceptions import StoreError
from batchyard.runtime.loop import Runtime
from batchyard.store.database import _Batch
from batchyard.store.progress import Intents
from tests.faults.disk import SimulatedDatabase
from tests.faults.world import FaultyWorld, MortalEngine


class StartsTwice(FaultyWorld):
    """A launch that comes again starts the attempt again."""

    def is_known(self, attempt_id: str) -> bool:
        return False


class ActsBeforeTheCommit(Runtime):
    """Effects come first and are stored afterwards."""

    async def _carry_out(self, outcome: Outcome, stop_ids: Sequence[int] = ()) -> None:
        launches = [effect for effect in outcome.effects if isinstance(effect, LaunchAttempt)]
        if launches:
            await self._prepare(launches)
        self._act(outcome.effects)
        await super()._carry_out(structs.replace(outcome, effects=[]), stop_ids)


class TakesInTheLastFirst(Runtime):
    """Of the jobs that it finds SUBMITTED, it takes in the newest first."""

    def _read_intents(self, connection: Connection) -> tuple[Intents, list[Input]]:
        intents, submissions = super()._read_intents(connection)
        return intents, submissions[::-1]


class HoldsNothing(MortalEngine):
    """Asked what it holds, the engine says: nothing."""

    async def holding(self) -> list[Held]:
        await super().holding()
        return []


class AcknowledgesWhatFails(SimulatedDatabase):
    """A commit that the disk refuses counts as done."""

    def _commit(self, batch: _Batch) -> None:
        super()._commit(batch)
        for write in batch.writes:
            if isinstance(write.error, StoreError):
                write.error = None


class ForgetsBeforeTheCommit(MortalEngine):
    """The engine forgets an end as soon as it has told it, and not when it is stored."""

    def _take(self, reports: list[Report]) -> None:
        super()._take(reports)
        self._world.forget([report.attempt_id for report in reports if isinstance(report, AttemptExited)])


class NeverForgets(MortalEngine):
    """The server keeps to itself what the engine may forget."""

    def forget(self, attempt_ids: Sequence[str]) -> None:
        return


class LosesLaunches(MortalEngine):
    """What is asked for while the connection is broken is never asked again."""

    def launch(self, launches: Sequence[Launch]) -> None:
        super().launch(launches)
        self._unconfirmed.clear()


class ChoosesGpusItself(MortalEngine):
    """Attempts get the first GPUs of the machine, whichever were meant for them."""

    def launch(self, launches: Sequence[Launch]) -> None:
        gpus = self.capacity().gpus
        super().launch([structs.replace(launch, gpus=gpus[: len(launch.gpus)]) for launch in launches])


class TellsWrongCodes(FaultyWorld):
    """An exit that is told again, after a reconnection, is told as a success."""

    def reports_of_held(self) -> list[Report]:
        return [_as_success(report) for report in super().reports_of_held()]


def _as_success(report: Report) -> Report:
    if isinstance(report, AttemptExited) and report.started:
        return AttemptExited(report.attempt_id, report.at_ms, 0)
    return report


class HidesStarts(FaultyWorld):
    """What started is told as never started, now and then: its job is over or tried again while it runs."""

    def tell(self, reports: list[Report]) -> None:
        super().tell([self._changed(report) for report in reports])

    def _changed(self, report: Report) -> Report:
        if isinstance(report, AttemptStarted) and self._dice.random() < 0.2:
            return AttemptExited(report.attempt_id, report.at_ms, None, "CannotStart", started=False)
        return report
