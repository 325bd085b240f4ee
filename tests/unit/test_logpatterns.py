"""The multiline options of the awslogs driver (user guide, "Using the awslogs Log Driver"; Docker's page on it)."""

from __future__ import annotations

import time

import pytest

from batchyard import logpatterns
from batchyard.logpatterns import compiled, pattern_of


def begins(line: str, **options: str) -> bool:
    pattern = pattern_of({f"awslogs-{name.replace('_', '-')}": value for name, value in options.items()})
    assert pattern is not None
    return compiled(pattern)(line)


@pytest.mark.parametrize("options", [{}, {"awslogs-group": "g"}, {"awslogs-multiline-pattern": ""}])
def test_without_the_options_every_line_is_an_event(options: dict[str, str]) -> None:
    assert pattern_of(options) is None


def test_a_pattern_is_looked_for_anywhere_in_a_line() -> None:
    assert begins("INFO: it began", multiline_pattern="^INFO")
    assert not begins("so INFO", multiline_pattern="^INFO")
    assert begins("so INFO", multiline_pattern="INFO")


def test_the_datetime_format_goes_before_the_pattern() -> None:
    both = {"datetime_format": "%Y", "multiline_pattern": "^x"}
    assert begins("in 2017", **both)
    assert not begins("x", **both)


def test_the_guides_own_example() -> None:
    shape = r"\[%b %d, %Y %H:%M:%S\]"
    assert begins("[May 01, 2017 19:00:01] A message was logged", datetime_format=shape)
    assert not begins("Some random message", datetime_format=shape)
    assert not begins("[May 32, 2017 19:00:01] no such day", datetime_format=shape)


@pytest.mark.parametrize(
    ("code", "matching", "other"),
    [
        ("%a", "Mon", "Mond"[:2]),
        ("%A", "Monday", "Mon"),
        ("%w", "6", "7"),
        ("%d", "08", "32"),
        ("%b", "Feb", "Fev"),
        ("%B", "February", "Feb"),
        ("%m", "12", "13"),
        ("%Y", "2008", "208"),
        ("%y", "08", "8"),
        ("%H", "23", "24"),
        ("%I", "07", "13"),
        ("%p", "AM", "XM"),
        ("%M", "57", "60"),
        ("%S", "04", "61"),
        ("%L", ".123", "123"),
        ("%f", "000345", "345"),
        ("%z", "+1300", "1300"),
        ("%Z", "PST", "P"),
        ("%j", "363", "367"),
        ("%%", "", None),
        ("%q", "", None),
    ],
)
def test_the_codes_that_docker_knows(code: str, matching: str, other: str | None) -> None:
    assert begins(f"<{matching}>", datetime_format=f"^<{code}>$")
    if other is not None:
        assert not begins(f"<{other}>", datetime_format=f"^<{code}>$")


@pytest.mark.parametrize("zone", ["UTC", "CEST", "PST"])
def test_time_zones_have_names_of_two_to_five_letters(zone: str) -> None:
    assert begins(f"19:00 {zone} said", datetime_format="^%H:%M %Z said")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "missing )"), ("[a", "missing ]"), ("(?=a)", "invalid perl operator"), ("a{5000}", "repetition size")],
)
def test_what_re2_does_not_take_is_no_pattern(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        compiled(pattern)
    assert words in str(caught.value)


def test_a_pattern_that_would_be_slow_is_too_large() -> None:
    with pytest.raises(ValueError, match="too large"):
        compiled("(a|b)*a(a|b){900}c")


def test_no_pattern_takes_long_however_it_is_made() -> None:
    """With backtracking this one would take longer than the world has existed."""
    line = "a" * logpatterns.SEARCHED_CHARACTERS
    began = time.process_time()
    assert not compiled("(a*)*(a*)*(a|a)*b$")(line)
    assert time.process_time() - began < 5


def test_only_the_beginning_of_a_line_is_searched() -> None:
    line = "x" * logpatterns.SEARCHED_CHARACTERS
    assert compiled("S")("S" + line)
    assert not compiled("S")(line + "S")
