"""Messages between the nodes: a rendezvous at the main node, links to the neighbours, an all-reduce.

Only AWS Batch's own variables lead the nodes to each other. The main node listens on a port that all know; the others
connect to its address, say where they can be reached themselves, and get the list of all. Then each node connects to
the one before it, so that neighbours have a link of their own.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

JOIN_SECONDS = 60.0
"""How long to wait for the other nodes: a job's children start after its main node, in any order."""
SILENCE_SECONDS = 60.0
"""A node that says nothing for so long is gone: Batch leaves it to the program to notice (multi-node pages)."""
_LENGTH = struct.Struct("!I")


class Link:
    """One connection; messages are bytes with their length in front."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SILENCE_SECONDS)
        self._connection = connection

    def send(self, message: bytes) -> None:
        self._connection.sendall(_LENGTH.pack(len(message)) + message)

    def receive(self) -> bytes:
        return self._exactly(_LENGTH.unpack(self._exactly(_LENGTH.size))[0])

    def until_closed(self) -> None:
        """Wait until the other side has nothing more to say."""
        while self._connection.recv(1024):
            pass

    def close(self) -> None:
        self._connection.close()

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise ConnectionError("the other node went away")
            parts += part
        return bytes(parts)


@dataclass
class Nodes:
    """This node among all. `above` and `below` are its neighbours; `others` are all, and the main node's alone."""

    index: int
    count: int
    main: Link | None
    """The main node; None on the main node itself."""
    others: dict[int, Link]
    above: Link | None = None
    below: Link | None = None

    @property
    def is_main(self) -> bool:
        return self.main is None

    def exchange(self, top: bytes, bottom: bytes) -> tuple[bytes | None, bytes | None]:
        """Give the neighbours this node's edges, get theirs. Even nodes speak first, so that nobody waits in a ring."""
        if self.index % 2 == 0:
            self._speak(top, bottom)
            return self._listen()
        heard = self._listen()
        self._speak(top, bottom)
        return heard

    def _speak(self, top: bytes, bottom: bytes) -> None:
        for link, edge in ((self.above, top), (self.below, bottom)):
            if link is not None:
                link.send(edge)

    def _listen(self) -> tuple[bytes | None, bytes | None]:
        return (self.above and self.above.receive(), self.below and self.below.receive())

    def largest_of_all(self, value: float) -> float:
        """An all-reduce: the largest of all nodes' values, known to all of them."""
        if self.main is not None:
            self.main.send(struct.pack("!d", value))
            return float(struct.unpack("!d", self.main.receive())[0])
        values = [value, *(struct.unpack("!d", link.receive())[0] for link in self.others.values())]
        for link in self.others.values():
            link.send(struct.pack("!d", max(values)))
        return float(max(values))

    def gathered(self, content: bytes) -> list[bytes]:
        """On the main node, the contents of all in order; elsewhere nothing."""
        if self.main is not None:
            self.main.send(content)
            return []
        received = {index: link.receive() for index, link in self.others.items()}
        return [received.get(index, content) for index in range(self.count)]

    def part(self) -> None:
        """End together: the main node goes last, because its end stops the others."""
        for link in (self.above, self.below, self.main):
            if link is not None:
                link.close()
        for link in self.others.values():
            link.until_closed()
            link.close()


def join(port: int, variables: Mapping[str, str] = os.environ) -> Nodes:
    """Find the other nodes of this job; without AWS Batch's variables, be the only one."""
    index = int(variables.get("AWS_BATCH_JOB_NODE_INDEX", "0"))
    count = int(variables.get("AWS_BATCH_JOB_NUM_NODES", "1"))
    main_address = variables.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS")
    # Batchyard's nodes share a machine: each listens on its own address. Elsewhere a node has the machine to itself.
    own = variables.get("BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS", "0.0.0.0")
    with socket.create_server((own, 0)) as neighbours:
        neighbours.settimeout(JOIN_SECONDS)
        where = neighbours.getsockname()[1]
        if main_address is None:
            nodes, table = _lead(own, port, index, count, where)
        else:
            nodes, table = _follow(main_address, port, own, index, count, where)
        if index > 0:
            nodes.above = Link(_connect(*table[index - 1], own))
        if index < count - 1:
            nodes.below = Link(neighbours.accept()[0])
    return nodes


def _lead(own: str, port: int, index: int, count: int, where: int) -> tuple[Nodes, list[tuple[str, int]]]:
    """On the main node: wait for all the others, tell all of them where everybody is."""
    nodes = Nodes(index, count, None, {})
    places = {index: (own, where)}
    with socket.create_server((own, port)) as server:
        server.settimeout(JOIN_SECONDS)
        while len(places) < count:
            connection, (address, _) = server.accept()
            link = Link(connection)
            other, its_port = json.loads(link.receive())
            nodes.others[other], places[other] = link, (address, its_port)
    for link in nodes.others.values():
        # How this node reaches itself means nothing to the others: they connect to where they have found it.
        link.send(json.dumps([places[each] if each != index else None for each in range(count)] + [where]).encode())
    return nodes, [places[each] for each in range(count)]


def _follow(
    main_address: str, port: int, own: str, index: int, count: int, where: int
) -> tuple[Nodes, list[tuple[str, int]]]:
    main = Link(_connect(main_address, port, own))
    main.send(json.dumps([index, where]).encode())
    *places, main_port = json.loads(main.receive())
    return Nodes(index, count, main, {}), [tuple(place) if place else (main_address, main_port) for place in places]


def _connect(address: str, port: int, own: str) -> socket.socket:
    """The main node is RUNNING when the others start, but its program may not listen yet."""
    source = None if own == "0.0.0.0" else (own, 0)
    return _retried(lambda: socket.create_connection((address, port), timeout=JOIN_SECONDS, source_address=source))


def _retried(connect: Callable[[], socket.socket]) -> socket.socket:
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            return connect()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
