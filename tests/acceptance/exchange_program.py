"""A node: the others connect to the main node and send it their index; all print the sum, and where they are."""

from __future__ import annotations

import os
import socket
import time

PORT = 5600
DEADLINE_SECONDS = 30.0


def main() -> None:
    index = int(os.environ["AWS_BATCH_JOB_NODE_INDEX"])
    nodes = int(os.environ["AWS_BATCH_JOB_NUM_NODES"])
    is_main = index == int(os.environ["AWS_BATCH_JOB_MAIN_NODE_INDEX"])
    own = os.environ["BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS"]
    total = lead(own, index, nodes) if is_main else follow(own, index)
    print(f"node {index} of {nodes} at {own}: {total}", flush=True)


def lead(own: str, index: int, nodes: int) -> int:
    with socket.create_server((own, PORT)) as server:
        server.settimeout(DEADLINE_SECONDS)
        links = [server.accept()[0] for _ in range(nodes - 1)]
    total = index + sum(int(link.makefile().readline()) for link in links)
    for link in links:
        link.sendall(f"{total}\n".encode())
    for link in links:
        link.recv(1)
        link.close()
    return total


def follow(own: str, index: int) -> int:
    with connect(os.environ["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"], own) as link:
        link.sendall(f"{index}\n".encode())
        return int(link.makefile().readline())


def connect(address: str, own: str) -> socket.socket:
    """The main node is RUNNING when the others start, but its program may not listen yet."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=DEADLINE_SECONDS, source_address=(own, 0))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    main()
