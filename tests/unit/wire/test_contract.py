from __future__ import annotations

import botocore.session
import pytest

from batchyard.wire.contract import SERVICES, Contract
from tests.unit.wire.harness import CONTRACT


def test_the_contract_has_every_operation_of_the_installed_models() -> None:
    session = botocore.session.get_session()
    expected = {(name, operation) for name in SERVICES for operation in session.get_service_model(name).operation_names}
    assert set(CONTRACT.operations()) == expected


@pytest.mark.parametrize(
    ("service", "protocol", "content_type"),
    [
        ("batch", "rest-json", "application/json"),
        ("logs", "json", "application/x-amz-json-1.1"),
        ("sts", "query", "text/xml"),
    ],
)
def test_the_model_names_the_protocol(service: str, protocol: str, content_type: str) -> None:
    assert CONTRACT.services[service].dialect.protocol == protocol
    assert CONTRACT.services[service].dialect.content_type == content_type


def test_an_operation_is_compiled_once() -> None:
    batch = Contract.load(["batch"]).services["batch"]
    assert batch.operation("SubmitJob") is batch.operation("SubmitJob")


def test_an_operation_knows_its_method_and_path() -> None:
    untag = CONTRACT.services["batch"].operation("UntagResource")
    assert (untag.service, untag.name, untag.method, untag.path) == (
        "batch",
        "UntagResource",
        "DELETE",
        "/v1/tags/{resourceArn}",
    )


def test_a_service_in_a_protocol_that_is_not_spoken_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="speaks"):
        Contract.load(["s3"])
