"""Consumable resources through boto3, with real processes and a killed server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from batchyard.testing import Server, server

pytestmark = pytest.mark.acceptance


@pytest.fixture
def yard() -> Iterator[Server]:
    with server(overcommit=True, check_invariants=True) as yard:
        yield yard


def needs(quantity: int) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": "licence", "quantity": quantity}]}


def level(yard: Server) -> tuple[int, int]:
    """(total, in use)"""
    found = yard.batch.describe_consumable_resource(consumableResource="licence")
    return found["totalQuantity"], found["inUseQuantity"]


def test_licences_are_shared_out_over_a_killed_server(yard: Server) -> None:
    yard.batch.create_consumable_resource(consumableResourceName="licence", totalQuantity=2)
    holder = yard.submit(["sleep", "600"], consumableResourcePropertiesOverride=needs(2))
    yard.wait_for(holder, status="RUNNING")
    waiting = yard.submit(["true"], consumableResourcePropertiesOverride=needs(1))
    described = yard.wait_for(waiting, status="RUNNABLE")
    assert described["consumableResourceProperties"] == needs(1)
    assert level(yard) == (2, 2)
    yard.kill()
    yard.start()
    assert level(yard) == (2, 2)
    found = yard.batch.list_jobs_by_consumable_resource(consumableResource="licence")["jobs"]
    assert [(job["jobArn"].rpartition("/")[2], job["quantity"]) for job in found] == [(waiting, 1), (holder, 2)]
    yard.batch.terminate_job(jobId=holder, reason="seen")
    assert yard.wait_for(waiting)["status"] == "SUCCEEDED"
    yard.wait_for(holder, status="FAILED")
    assert level(yard) == (2, 0)


def test_an_array_spends_what_it_takes(yard: Server) -> None:
    yard.batch.create_consumable_resource(
        consumableResourceName="licence", totalQuantity=5, resourceType="NON_REPLENISHABLE"
    )
    array = yard.submit(["true"], arrayProperties={"size": 3}, consumableResourcePropertiesOverride=needs(2))
    yard.wait_for(f"{array}:1", status="SUCCEEDED")
    yard.wait_for(f"{array}:0", status="SUCCEEDED")
    assert level(yard) == (1, 0)
    assert yard.wait_for(f"{array}:2", status="RUNNABLE")["statusReason"].endswith("licence")
    yard.batch.update_consumable_resource(consumableResource="licence", operation="ADD", quantity=1)
    assert yard.wait_for(array)["status"] == "SUCCEEDED"
    assert level(yard) == (0, 0)
