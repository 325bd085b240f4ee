#!/usr/bin/env python3
"""One node of a data-parallel training with PyTorch: its part of every batch, and the gradients of all.

    train.py --steps 200 --output weights.bin

Every node of the job runs this same command and has the same network. In every step each computes the gradients of its
part of the batch; an all-reduce (torch.distributed with gloo) adds them up, and all take the same step. So the nodes
learn what one node would with whole batches, but for the order in which numbers are added. The main node writes the
result: the weights as doubles.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

try:
    import torch
    from torch import distributed
except ModuleNotFoundError:
    sys.exit("train.py needs PyTorch: pip install 'batchyard[torch]'")

PORT = 5720
JOIN_TIME = timedelta(seconds=60)
"""How long to wait for the other nodes: a job's children start after its main node, in any order."""
SEED = 1
POINTS, BATCH, HIDDEN = 2048, 256, 24
LEARNING_RATE = 0.02
TURNS = 1.25
SAY_EVERY = 50


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Train a small network, together with the other nodes.")
    parser.add_argument("--steps", type=int, default=400, help="steps of gradient descent (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="where the main node writes the weights")
    parser.add_argument("--port", type=int, default=PORT, help="where the main node listens (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    join(chosen.port)
    try:
        weights = train(chosen.steps)
        if distributed.get_rank() == main_node(os.environ):
            chosen.output.parent.mkdir(parents=True, exist_ok=True)
            chosen.output.write_bytes(array("d", weights.tolist()).tobytes())
        # The main node's end stops the others: nobody goes before all are done.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    return 0


# ---- the nodes


def join(port: int, variables: Mapping[str, str] = os.environ) -> None:
    """Find the other nodes of this job by AWS Batch's variables; without them, be the only one."""
    index = int(variables.get("AWS_BATCH_JOB_NODE_INDEX", "0"))
    count = int(variables.get("AWS_BATCH_JOB_NUM_NODES", "1"))
    main_address = variables.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS")
    # Batchyard's nodes share a machine: each listens on its own address. Elsewhere a node has the machine to itself.
    own = variables.get("BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS", "0.0.0.0")
    if own.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if main_address is None:
        listener = socket.create_server((own, port))
        local = "127.0.0.1" if own == "0.0.0.0" else own
        store = distributed.TCPStore(
            local, port, count, is_master=True, timeout=JOIN_TIME, master_listen_fd=listener.detach()
        )
    else:
        store = distributed.TCPStore(main_address, port, count, is_master=False, timeout=JOIN_TIME)
    distributed.init_process_group("gloo", store=store, rank=index, world_size=count, timeout=JOIN_TIME)


def main_node(variables: Mapping[str, str]) -> int:
    return int(variables.get("AWS_BATCH_JOB_MAIN_NODE_INDEX", "0"))


def say(text: str) -> None:
    print(f"node {distributed.get_rank()}: {text}", flush=True)


# ---- the training


def spirals(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two spirals that wind around each other, and to which of them each belongs."""
    kind = torch.arange(count) % 2
    along = torch.rand(count, generator=generator).sqrt()
    angle = 2 * math.pi * TURNS * along + math.pi * kind
    places = torch.stack((along * torch.cos(angle), along * torch.sin(angle)), dim=1)
    return places + 0.01 * torch.randn(count, 2, generator=generator), kind.to(torch.float64).unsqueeze(1)


def network() -> torch.nn.Sequential:
    torch.manual_seed(SEED)
    return torch.nn.Sequential(
        torch.nn.Linear(2, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, 1),
    )


def train(steps: int) -> torch.Tensor:
    """The trained weights, which are the same on all nodes."""
    rank, count = distributed.get_rank(), distributed.get_world_size()
    is_main = rank == main_node(os.environ)
    generator = torch.Generator().manual_seed(SEED)
    places, kinds = spirals(POINTS, generator)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    criterion = torch.nn.BCEWithLogitsLoss(reduction="sum")
    first, last = BATCH * rank // count, BATCH * (rank + 1) // count
    say(f"points {first} to {last - 1} of every batch of {BATCH}")
    began = time.monotonic()
    for step in range(1, steps + 1):
        batch = torch.randint(POINTS, (BATCH,), generator=generator)[first:last]
        optimizer.zero_grad()
        loss = criterion(model(places[batch]), kinds[batch]) / BATCH
        loss.backward()
        together = all_reduced(model, loss.detach())
        optimizer.step()
        if is_main and step % SAY_EVERY == 0:
            say(f"step {step}: the loss is {together:.6f}")
    if is_main:
        right = ((model(places) > 0) == (kinds > 0.5)).double().mean().item()
        took = time.monotonic() - began
        say(f"{count} {'nodes' if count > 1 else 'node'} took {took:.2f} s; {right:.1%} of the points are told apart")
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def all_reduced(model: torch.nn.Module, loss: torch.Tensor) -> float:
    """Give every node the sum of all nodes' gradients, in one message; the sum of their losses too."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    message = torch.cat([*(gradient.reshape(-1) for gradient in gradients), loss.reshape(1)])
    distributed.all_reduce(message)
    at = 0
    for gradient in gradients:
        gradient.copy_(message[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return float(message[-1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
