"""Automated job retries (user guide, "Automated Job Retries" and the retry strategy's evaluateOnExit; facts §11)."""

from __future__ import annotations

from batchyard.core.model import Attempt, JobTerms, RetryRule


def should_retry(terms: JobTerms, attempt: Attempt) -> bool:
    """Does a failed attempt put its job back to RUNNABLE? Never asked for stopped units: they end."""
    if attempt.number >= terms.max_attempts:
        return False
    for rule in terms.retry_rules:
        if _matches(rule, attempt):
            return rule.action.upper() == "RETRY"
    return True


def _matches(rule: RetryRule, attempt: Attempt) -> bool:
    """All given conditions of a rule must hold."""
    exit_code = None if attempt.exit_code is None else str(attempt.exit_code)
    return (
        _pattern_matches(rule.on_status_reason, attempt.status_reason)
        and _pattern_matches(rule.on_reason, attempt.reason)
        and _pattern_matches(rule.on_exit_code, exit_code)
    )


def _pattern_matches(pattern: str | None, value: str | None) -> bool:
    """A pattern is the whole text, or a prefix and one trailing `*`. Only `*` alone matches an absent value."""
    if pattern is None or pattern == "*":
        return True
    if value is None:
        return False
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern
