"""What every operation is given, and the table that operations register themselves in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import Struct

from batchyard.clock import Clock, Ids
from batchyard.core.explain import Explanation
from batchyard.core.snapshot import Snapshot
from batchyard.engines.base import Engine
from batchyard.settings import Settings
from batchyard.store.database import Database
from batchyard.telemetry.logstore import LogStore
from batchyard.wire.sigv4 import Caller

Params = dict[str, Any]
"""A request's members, validated against the service model: present members have the right type and range."""

Result = dict[str, Any]
"""A response's members; absent ones are left out."""


class Scheduler(Protocol):
    """What only the scheduler knows. All else is read from the store, which any number of servers can do."""

    def explain(self, unit_id: str) -> Explanation | None:
        """Why an unfinished job isn't running; None for one that the scheduler doesn't hold."""

    def snapshot(self, queue: str) -> Snapshot | None:
        """The front of a queue; None for one that the scheduler doesn't hold."""


class Context(Struct, frozen=True):
    """One request's surroundings. `wake` tells the runtime that an intent has been committed."""

    settings: Settings
    clock: Clock
    ids: Ids
    database: Database
    logs: LogStore
    engine: Engine
    wake: Callable[[], None]
    caller: Caller
    scheduler: Scheduler | None = None
    """None where none runs, as in tests of the API alone."""


Operation = Callable[[Context, Params], Awaitable[Result]]

OPERATIONS: dict[tuple[str, str], Operation] = {}
"""Every operation that is built, by (service, operation name as in the service model)."""


def operation(service: str, name: str) -> Callable[[Operation], Operation]:
    """Register a function as the operation `name` of `service`."""

    def register(function: Operation) -> Operation:
        OPERATIONS[(service, name)] = function
        return function

    return register
