"""consumableResourceProperties of job definitions, and SubmitJob's override of them (facts §13)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch.checks import does_not_exist
from batchyard.api.context import Params
from batchyard.core.model import ConsumableNeed
from batchyard.settings import Settings
from batchyard.store import consumables
from batchyard.store.documents import Document
from batchyard.wire import errors

MAX_QUANTITY = 2**53
"""Far beyond any use, and still a whole number in every JSON reader."""


def check_needs(properties: dict[str, Any] | None) -> None:
    """Each entry names a resource, and how much of it; no resource comes twice, by name or ARN."""
    entries = (properties or {}).get("consumableResourceList", [])
    for entry in entries:
        if not entry.get("consumableResource"):
            raise errors.executing_request("consumableResource must be provided in consumableResourceList")
        if not 0 <= entry.get("quantity", -1) <= MAX_QUANTITY:
            raise errors.executing_request("quantity must be provided in consumableResourceList, and be 0 or more")
    names = [need.name for need in listed_needs(properties)]
    if len(set(names)) < len(names):
        raise errors.executing_request("consumableResourceList names a consumable resource more than once")


def properties_of(document: Document, params: Params) -> dict[str, Any]:
    """What the job asks for: SubmitJob's list if it has one, whole, else the definition's."""
    given = params.get("consumableResourcePropertiesOverride") or document.get("consumableResourceProperties")
    return dict(given or {})


def needs_of(document: Document, params: Params) -> tuple[ConsumableNeed, ...]:
    """What an attempt of the job takes; of a multi-node job, what it takes beside its nodes."""
    return listed_needs(properties_of(document, params))


def check_known(connection: Connection, settings: Settings, needs: tuple[ConsumableNeed, ...]) -> None:
    """A job for a resource that isn't there would wait for ever. Definitions may come before resources."""
    if not needs:
        return
    if any(need.quantity > MAX_QUANTITY for need in needs):
        raise errors.executing_request(f"The quantity that all nodes together need must be at most {MAX_QUANTITY}")
    known = consumables.find_names(connection, [need.name for need in needs])
    for need in needs:
        if need.name not in known:
            raise does_not_exist(batch_arn(settings, f"consumable-resource/{need.name}"))


def listed_needs(properties: dict[str, Any] | None) -> tuple[ConsumableNeed, ...]:
    """The entries of a consumableResourceList that was checked."""
    entries = (properties or {}).get("consumableResourceList", [])
    return tuple(
        ConsumableNeed(name_from("consumable-resource", entry["consumableResource"]), entry["quantity"])
        for entry in entries
    )
