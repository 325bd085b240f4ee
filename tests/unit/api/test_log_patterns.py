from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.api.log_patterns import Pattern, parse
from batchyard.exceptions import ApiError


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", Pattern()),
        ("   ", Pattern()),
        ("ERROR", Pattern(("ERROR",))),
        (" ERROR  timeout ", Pattern(("ERROR", "timeout"))),
        ('"exit code" -DEBUG', Pattern(("exit code",), ("DEBUG",))),
        ('-"not this" ?a ?"or that"', Pattern((), ("not this",), ("a", "or that"))),
        (r'"say \"hi\" \\"', Pattern((r'say "hi" ' + "\\",))),
        ("a-b what?", Pattern(("a-b", "what?"))),
        ("-", Pattern(("-",))),
    ],
)
def test_terms_phrases_and_signs(text: str, pattern: Pattern) -> None:
    assert parse(text) == pattern


@pytest.mark.parametrize(
    ("text", "message", "matches"),
    [
        ("", "anything", True),
        ("ERROR", "an ERROR here", True),
        ("ERROR", "an error here", False),
        ("a b", "b then a", True),
        ("a b", "a alone", False),
        ('"a b"', "b a", False),
        ("a -b", "a b", False),
        ("?a ?b", "only b", True),
        ("?a ?b", "neither", False),
        ("c ?a ?b", "a c", True),
        ("c ?a ?b", "c", False),
    ],
)
def test_matching(text: str, message: str, matches: bool) -> None:
    assert parse(text).matches(message) is matches


@given(st.text(st.sampled_from('ab "\\-?%{['), max_size=40))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        parse(text).matches("some message")
    except ApiError as error:
        assert error.code == "InvalidParameterException"
