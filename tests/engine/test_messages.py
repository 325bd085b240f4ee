from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.engines.base import Launch
from batchyard.engines.process.messages import (
    AskHolding,
    Decoder,
    Forget,
    Hello,
    LaunchAll,
    Stop,
    ToSupervisor,
    encode,
)
from batchyard.exceptions import EngineError

TEXT = st.text(max_size=20)
LAUNCH = st.builds(
    Launch,
    attempt_id=TEXT,
    command=st.lists(TEXT, max_size=3).map(tuple),
    environment=st.dictionaries(TEXT, TEXT, max_size=3),
    vcpu_milli=st.integers(0, 2**31),
    memory_mib=st.integers(0, 2**31),
)
MESSAGES = st.one_of(
    st.builds(Hello, version=st.integers(0, 9), environment=st.dictionaries(TEXT, TEXT, max_size=3)),
    st.builds(LaunchAll, launches=st.lists(LAUNCH, max_size=3)),
    st.builds(Stop, attempt_id=TEXT, grace_seconds=st.integers(0, 10**6)),
    st.builds(Forget, attempt_ids=st.lists(TEXT, max_size=3)),
    st.just(AskHolding()),
)


@given(st.lists(st.lists(MESSAGES, max_size=4), max_size=5), st.lists(st.integers(1, 60), min_size=1))
def test_messages_arrive_whole_however_the_bytes_are_cut(frames: list[list[ToSupervisor]], sizes: list[int]) -> None:
    data = b"".join(encode(messages) for messages in frames)
    decoder: Decoder[ToSupervisor] = Decoder(ToSupervisor)
    got, offset, turn = [], 0, 0
    while offset < len(data):
        size = sizes[turn % len(sizes)]
        got += decoder.feed(data[offset : offset + size])
        offset, turn = offset + size, turn + 1
    assert got == [message for messages in frames for message in messages]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x01\0\0\0\xc1", b"\x02\0\0\0\x91\x01", b"\x02\0\0\0\xa1\xff"])
def test_another_language_is_an_error(data: bytes) -> None:
    decoder: Decoder[ToSupervisor] = Decoder(ToSupervisor)
    with pytest.raises(EngineError):
        decoder.feed(data)
