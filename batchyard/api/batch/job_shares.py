"""shareIdentifier and schedulingPriority of a job that is being submitted (facts §3, §7, §14)."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from batchyard.api.context import Params
from batchyard.store import shares
from batchyard.store.documents import Document
from batchyard.store.queues import QueueRow
from batchyard.wire import errors

MAX_SCHEDULING_PRIORITY = 9999

_SHARE_IDENTIFIER = re.compile(r"[A-Za-z0-9]{1,255}\*?")


class JobShare(Struct, frozen=True):
    """Whose share a job counts against, and its place within. In a queue without a policy neither means anything."""

    identifier: str | None
    priority: int | None

    def described(self) -> dict[str, Any]:
        """The members of JobDetail."""
        described: dict[str, Any] = {}
        if self.identifier is not None:
            described["shareIdentifier"] = self.identifier
        if self.priority is not None:
            described["schedulingPriority"] = self.priority
        return described


def is_share_pattern(text: str) -> bool:
    """Up to 255 letters and digits, and possibly a trailing `*` (service model)."""
    return _SHARE_IDENTIFIER.fullmatch(text) is not None


def share_of(
    connection: Connection, queue: QueueRow, params: Params, document: Document, now_ms: int, most_active: int
) -> JobShare:
    """Check what the request says of the share, and note that the share has a job. `most_active` 0 is no limit.

    A fair-share queue wants a share identifier, and a priority from the request or from the definition; other queues
    take neither from the request, and don't mind one in the definition.
    """
    identifier = params.get("shareIdentifier") or None
    override = params.get("schedulingPriorityOverride")
    priority = document.get("schedulingPriority") if override is None else override
    if queue.policy is None:
        if identifier is not None or override is not None:
            raise errors.client_exception(
                "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share"
                " scheduling policy."
            )
        return JobShare(None, priority)
    if identifier is None:
        raise errors.client_exception("shareIdentifier is required for job queue with fair share scheduling policy.")
    if not is_share_pattern(identifier):
        raise errors.executing_request(
            "shareIdentifier should have up to 255 letters and digits, and may end with an asterisk"
        )
    if priority is None:
        raise errors.client_exception(
            "Either schedulingPriority in job definition or schedulingPriorityOverride should be specified."
        )
    if not 0 <= priority <= MAX_SCHEDULING_PRIORITY:
        raise errors.executing_request(f"schedulingPriorityOverride must be between 0 and {MAX_SCHEDULING_PRIORITY}")
    if not shares.add_job(connection, queue.name, identifier, now_ms, most_active):
        raise errors.client_exception(
            f"Job queue {queue.name} has {most_active} active share identifiers, and can take no new one"
        )
    return JobShare(identifier, priority)
