from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.api import paging
from batchyard.exceptions import ApiError
from batchyard.wire import errors

positions = st.lists(st.text() | st.integers(-(2**63), 2**63 - 1), max_size=4)


@given(positions, st.text())
def test_a_token_gives_its_position_back(position: list[Any], scope: str) -> None:
    assert paging.decode(paging.encode(position, scope), scope) == position


@given(positions, st.text(max_size=10), st.text(max_size=10))
def test_a_token_is_of_no_use_in_another_scope(position: list[Any], scope: str, other: str) -> None:
    if scope == other:
        return
    with pytest.raises(ApiError):
        paging.decode(paging.encode(position, scope), other)


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    token = paging.encode(["name", 7])
    at = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda each: each != token[at]))
    with pytest.raises(ApiError) as caught:
        paging.decode(token[:at] + letter + token[at + 1 :])
    assert (caught.value.code, caught.value.message) == ("ClientException", "nextToken is not valid")


@given(st.text())
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(ApiError) as caught:
        paging.decode(token, refuse=errors.invalid_parameter)
    assert caught.value.code == "InvalidParameterException"


def test_an_endless_token_is_refused() -> None:
    with pytest.raises(ApiError):
        paging.decode("A" * 1_000_000)


def test_pages_have_1_to_100_entries() -> None:
    assert paging.page_size({}) == 100
    assert paging.page_size({"maxResults": 1}) == 1
    for size in (0, -1, 101):
        with pytest.raises(ApiError):
            paging.page_size({"maxResults": size})
