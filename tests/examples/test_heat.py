"""The heat equation of the multi-node example: its numbers, and its messages between threads as nodes."""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

MULTINODE = Path(__file__).resolve().parents[2] / "examples" / "multinode"
sys.path.insert(0, str(MULTINODE))

from heat import links, plate  # noqa: E402

SIZE = 17
HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def plain(first: int, last: int, size: int = SIZE) -> plate.PlainBlock:
    from array import array

    rows = [array("d", [plate.initial(row, column, size) for column in range(size)]) for row in range(first, last)]
    return plate.PlainBlock(rows)


def solved(blocks: list[plate.Block], steps: int) -> bytes:
    """The plate after some steps of blocks that lie one below the other."""
    for _ in range(steps):
        tops, bottoms = [b.edge(top=True) for b in blocks], [b.edge(top=False) for b in blocks]
        for at, block in enumerate(blocks):
            block.step(bottoms[at - 1] if at else None, tops[at + 1] if at + 1 < len(blocks) else None)
    return b"".join(block.content() for block in blocks)


@pytest.mark.parametrize("count", [1, 2, 3, 5, SIZE])
def test_any_number_of_blocks_gives_the_same_plate(count: int) -> None:
    blocks: list[plate.Block] = [plain(*plate.share(SIZE, index, count)) for index in range(count)]
    assert solved(blocks, 20) == solved([plain(0, SIZE)], 20)


@pytest.mark.skipif(not HAS_NUMPY, reason="needs numpy")
@pytest.mark.parametrize("count", [1, 4, SIZE])
def test_numpy_gives_the_same_plate(count: int) -> None:
    blocks = [plate.block(SIZE, *plate.share(SIZE, index, count)) for index in range(count)]
    assert all(isinstance(block, plate.NumpyBlock) for block in blocks)
    assert solved(blocks, 20) == solved([plain(0, SIZE)], 20)


def test_rows_are_shared_out_evenly_and_completely() -> None:
    shares = [plate.share(10, index, 4) for index in range(4)]
    assert shares == [(0, 2), (2, 5), (5, 7), (7, 10)]


def test_the_edges_keep_their_temperature() -> None:
    block = plain(0, SIZE)
    top, bottom = block.edge(top=True), block.edge(top=False)
    for _ in range(10):
        assert block.step(None, None) > 0
    assert (block.edge(top=True), block.edge(top=False)) == (top, bottom)


def test_the_nodes_find_each_other_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "JOIN_SECONDS", 20.0)
    port, count = 5799, 3
    addresses = [f"127.{os.getpid() % 100 + 1}.{os.getpid() // 100 % 250}.{index + 1}" for index in range(count)]

    def node(index: int) -> tuple[float, list[bytes]]:
        nodes = joined(index)
        above, below = nodes.exchange(bytes([index, 0]), bytes([index, 1]))
        assert above == (bytes([index - 1, 1]) if index else None)
        assert below == (bytes([index + 1, 0]) if index + 1 < count else None)
        largest = nodes.largest_of_all(float(index))
        contents = nodes.gathered(str(index).encode())
        nodes.part()
        return largest, contents

    def joined(index: int) -> links.Nodes:
        variables = {"AWS_BATCH_JOB_NODE_INDEX": str(index), "AWS_BATCH_JOB_NUM_NODES": str(count)}
        variables["BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS"] = addresses[index]
        if index != 1:
            variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = addresses[1]
        return links.join(port, variables)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(node, range(count)))
    assert [largest for largest, _ in results] == [2.0] * count
    assert [contents for _, contents in results] == [[], [b"0", b"1", b"2"], []]
