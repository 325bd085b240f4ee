"""What the server and the supervisor say to each other: frames of a length and a msgpack list of tagged structs."""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from batchyard.core.inputs import Report
from batchyard.engines.base import Held, Launch
from batchyard.exceptions import EngineError

PROTOCOL_VERSION = 2
MAX_FRAME_BYTES = 256 * 1024 * 1024
LAUNCHES_PER_FRAME = 256
"""A launch can be a megabyte of environment: so many of them stay far below the largest frame."""

_LENGTH = struct.Struct("<I")


class Hello(Struct, frozen=True, tag="hello"):
    """The first message of a server; `environment` is what every job starts from."""

    version: int
    environment: dict[str, str]


class LaunchAll(Struct, frozen=True, tag="launch"):
    launches: list[Launch]


class Recall(Struct, frozen=True, tag="recall"):
    attempt_ids: list[str]


class Stop(Struct, frozen=True, tag="stop"):
    attempt_id: str
    grace_seconds: int


class Forget(Struct, frozen=True, tag="forget"):
    attempt_ids: list[str]


class AskHolding(Struct, frozen=True, tag="holding"):
    """Answered by Holding, then by the reports of every attempt that is held."""


class ShutDown(Struct, frozen=True, tag="shutdown"):
    """Stop all jobs, each with its grace, report them, and exit."""


class Welcome(Struct, frozen=True, tag="welcome"):
    """The answer to Hello."""

    version: int
    incarnation: str
    limits: str


class Reports(Struct, frozen=True, tag="reports"):
    reports: list[Report]


class Holding(Struct, frozen=True, tag="held"):
    held: list[Held]


ToSupervisor = Hello | LaunchAll | Recall | Stop | Forget | AskHolding | ShutDown
ToServer = Welcome | Reports | Holding

M = TypeVar("M", bound=Struct)
_encoder = msgspec.msgpack.Encoder()


def encode(messages: list[ToSupervisor] | list[ToServer]) -> bytes:
    """One frame."""
    body = _encoder.encode(messages)
    if len(body) > MAX_FRAME_BYTES:
        raise EngineError(f"a message of {len(body)} bytes is too large for the supervisor")
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[M]):
    """Takes bytes as they come and gives the messages that are complete."""

    def __init__(self, message_type: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[M]] = msgspec.msgpack.Decoder(
            list[message_type],  # type: ignore[valid-type]
        )
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """The messages completed by `data`; EngineError if the other side does not speak this language."""
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        offset = 0
        while len(buffer) - offset >= _LENGTH.size:
            length = _LENGTH.unpack_from(buffer, offset)[0]
            if length > MAX_FRAME_BYTES:
                raise EngineError(f"a frame claims {length} bytes")
            begin = offset + _LENGTH.size
            if len(buffer) - begin < length:
                break
            offset = begin + length
            try:
                messages += self._decoder.decode(bytes(memoryview(buffer)[begin:offset]))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise EngineError(f"a frame is no message: {error}") from error
        del buffer[:offset]
        return messages
