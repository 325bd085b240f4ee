"""The streams of a command in a container."""

from __future__ import annotations

import socket
import struct

import pytest

from batchyard.engines.docker import execute

OUTPUT = struct.pack(">BxxxL", 1, 2) + b"hi"


@pytest.mark.parametrize(("copy", "said"), [(execute._copy_streams, OUTPUT), (execute._copy_terminal, b"hi")])
def test_a_connection_that_breaks_is_an_end(capfd: pytest.CaptureFixture[str], copy: object, said: bytes) -> None:
    """What became of the command is asked afterwards, and then it shows that the daemon is gone."""
    assert callable(copy)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        copy(ours, said, execute._Screen())
    assert capfd.readouterr().out == "hi"
