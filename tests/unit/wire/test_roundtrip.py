"""Every operation, from botocore's serialiser through the front to a handler and back through botocore's parser."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from batchyard.wire.contract import SERVICES, Contract
from tests.unit.wire.harness import CONTRACT, REGION, Handler, botocore_parsed, botocore_request, front, send
from tests.unit.wire.samples import Sampler

# More services than are served: one is to be added by its name alone.
WIDE = Contract.load((*SERVICES, "events", "cloudtrail", "ecs", "iam"))

# Their answers are streams of events, or hold free-form documents.
UNUSUAL = {
    ("logs", "GetLogObject"),
    ("logs", "StartLiveTail"),
    ("ecs", "CreateService"),
    ("ecs", "DeleteService"),
    ("ecs", "DescribeServiceDeployments"),
    ("ecs", "DescribeServices"),
    ("ecs", "UpdateService"),
}

SHARES = [
    (*operation, share)
    for operation in WIDE.operations()
    if operation not in UNUSUAL
    for share in ((1.0, 0.5, 0.0) if operation[0] in SERVICES else (1.0,))
]


def seconds(value: Any) -> Any:
    """The value with the moments that botocore makes of timestamps as seconds again."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: seconds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [seconds(item) for item in value]
    return value


@pytest.mark.parametrize(("service", "operation", "share"), SHARES)
def test_what_a_client_sends_arrives_and_what_a_handler_answers_returns(
    service: str, operation: str, share: float
) -> None:
    sampler = Sampler(seed=int(share * 10), share=share)
    model = WIDE.services[service].model.operation_model(operation)
    params = sampler.sample(model.input_shape) if model.input_shape else {}
    answer = sampler.sample(model.output_shape) if model.output_shape else {}
    handler = Handler(answer)

    response = send(front({(service, operation): handler}, WIDE), botocore_request(WIDE, service, operation, params))

    assert response.status == 200, response.body
    [(caller, received)] = handler.calls
    assert received == params
    assert (caller.access_key, caller.region, caller.service) == ("AKIDEXAMPLE", REGION, service)
    parsed = botocore_parsed(WIDE, service, operation, response)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "00000000-0000-4000-8000-000000000001"
    assert seconds(parsed) == answer


@pytest.mark.parametrize(("service", "operation"), CONTRACT.operations())
def test_an_operation_without_a_handler_is_refused_by_name(service: str, operation: str) -> None:
    model = CONTRACT.services[service].model.operation_model(operation)
    params = Sampler().sample(model.input_shape) if model.input_shape else {}
    response = send(front(), botocore_request(CONTRACT, service, operation, params))
    assert response.status == 400
    error = botocore_parsed(CONTRACT, service, operation, response)["Error"]
    assert error["Code"] == "ClientException"
    assert error["Message"] == f"{operation} is not built in Batchyard yet"
