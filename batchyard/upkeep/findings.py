"""What a check says."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, and something should be done."""
    PROBLEM = "problem"
    """Something doesn't work, or is about to stop."""


class Finding(Struct, frozen=True):
    """The answer to one question about a data folder; `advice` says what to do where it isn't OK."""

    check: str
    health: Health
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Health.OK, text)


def warning(check: str, text: str, advice: str) -> Finding:
    return Finding(check, Health.WARNING, text, advice)


def problem(check: str, text: str, advice: str) -> Finding:
    return Finding(check, Health.PROBLEM, text, advice)
