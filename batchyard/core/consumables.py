"""Consumable resources (user guide, "Resource-aware scheduling"; facts §13): licences, tokens, anything countable.

A job takes what it needs when it is placed. What is replenishable comes back when its attempt ends; what is not is gone
from the total for good. Of an array each child takes. A multi-node job is placed when there is enough for all its
nodes; then each takes what its range says, and the main node also what the job itself says.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec import Struct, field

from batchyard.core.job import AnyUnit
from batchyard.core.model import ConsumableNeed, ConsumableState
from batchyard.core.outcome import ConsumableUsed


class Consumable(Struct):
    """A resource as its owner set it, and how much of it the live attempts have."""

    state: ConsumableState
    in_use: int = 0

    @property
    def available(self) -> int:
        """Not below 0: an owner may take away what is in use."""
        return max(0, self.state.total - self.in_use)


class Stock(Struct):
    """All consumable resources. One that was deleted is not here, and jobs that need it wait for it to come back."""

    by_name: dict[str, Consumable] = field(default_factory=dict)
    _spent: dict[str, int] = field(default_factory=dict)
    """Of each resource whose row is to be stored, what has gone for good since that was last done."""

    def put(self, state: ConsumableState, live: Iterable[AnyUnit]) -> None:
        """A resource is new or changed. What `live` units had taken of one that was deleted counts again."""
        known = self.by_name.get(state.name)
        if known is None:
            needs = (need for unit in live for need in needs_of(unit) if need.name == state.name)
            known = self.by_name[state.name] = Consumable(state, sum(need.quantity for need in needs))
        known.state = state
        if known.in_use:
            self._touch(state.name)

    def remove(self, name: str) -> None:
        self.by_name.pop(name, None)

    def short_of(self, needs: Iterable[ConsumableNeed], claimed: Container[str] = ()) -> list[ConsumableNeed]:
        """Those of the needs that can't be met now, or that somebody else has a claim on."""
        return [need for need in needs if need.name in claimed or not self._has(need)]

    def could_meet(self, needs: Iterable[ConsumableNeed]) -> bool:
        """Would there be enough if nothing were in use?"""
        return all(need.name in self.by_name and need.quantity <= self.by_name[need.name].state.total for need in needs)

    def take(self, needs: Iterable[ConsumableNeed]) -> None:
        for need in needs:
            consumable = self.by_name.get(need.name)
            if consumable is not None:
                consumable.in_use += need.quantity
                self._touch(need.name)

    def give_back(self, needs: Iterable[ConsumableNeed], *, is_used: bool = True) -> None:
        """What was taken is in use no longer; what was used and is not replenishable is no longer there either."""
        for need in needs:
            consumable = self.by_name.get(need.name)
            if consumable is None:
                continue
            consumable.in_use -= need.quantity
            state = consumable.state
            if state.is_replenishable or not is_used:
                self._touch(need.name)
            else:
                left = max(0, state.total - need.quantity)
                consumable.state = ConsumableState(state.name, left, is_replenishable=False)
                self._touch(need.name, spent=need.quantity)

    def take_changes(self) -> list[ConsumableUsed]:
        """The rows to store since this was last asked."""
        changes = [
            ConsumableUsed(name, self.by_name[name].in_use, spent)
            for name, spent in self._spent.items()
            if name in self.by_name
        ]
        self._spent.clear()
        return changes

    def _has(self, need: ConsumableNeed) -> bool:
        consumable = self.by_name.get(need.name)
        return consumable is not None and need.quantity <= consumable.available

    def _touch(self, name: str, spent: int = 0) -> None:
        self._spent[name] = self._spent.get(name, 0) + spent


def needs_of(unit: AnyUnit) -> tuple[ConsumableNeed, ...]:
    """What a unit takes when it is placed."""
    return unit.job.terms.consumables_of(unit.index)
