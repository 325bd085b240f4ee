"""The OpenAPI document says what the validator checks."""

from __future__ import annotations

import json
from typing import Any

from batchyard.wire.contract import Contract
from tools import openapi

DOCUMENT: dict[str, Any] = json.loads(openapi.encoded())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_every_operation_is_there() -> None:
    names = {operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()}
    assert names == set(Contract.load(["batch"]).services["batch"].operation_names)


def test_every_reference_leads_to_a_schema() -> None:
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in SCHEMAS


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return here + [each for value in node.values() for each in references(value)]
    return [each for item in node for each in references(item)] if isinstance(node, list) else []


def test_a_body_has_what_is_required_of_it() -> None:
    body = DOCUMENT["paths"]["/v1/submitjob"]["post"]["requestBody"]
    assert body["required"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/SubmitJobRequest"}
    assert SCHEMAS["SubmitJobRequest"]["required"] == ["jobDefinition", "jobName", "jobQueue"]


def test_members_outside_the_body_are_parameters_and_not_in_it() -> None:
    operations = DOCUMENT["paths"]["/v1/tags/{resourceArn}"]
    assert operations["post"]["parameters"] == [
        {"name": "resourceArn", "in": "path", "schema": {"type": "string"}, "required": True}
    ]
    body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (list(body["properties"]), body["required"]) == (["tags"], ["tags"])
    assert {each["name"]: each["in"] for each in operations["delete"]["parameters"]} == {
        "resourceArn": "path",
        "tagKeys": "query",
    }
    assert "requestBody" not in operations["get"]


def test_enums_ranges_lengths_and_maps_are_those_of_the_model() -> None:
    size = SCHEMAS["ArrayProperties"]["properties"]["size"]
    assert size == {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
    assert SCHEMAS["JobDependency"]["properties"]["type"] == {"type": "string", "enum": ["N_TO_N", "SEQUENTIAL"]}
    conditions = SCHEMAS["RetryStrategy"]["properties"]["evaluateOnExit"]
    assert conditions["items"] == {"$ref": "#/components/schemas/EvaluateOnExit"}
    tags = SCHEMAS["SubmitJobRequest"]["properties"]["tags"]
    assert tags["propertyNames"] == {"type": "string", "minLength": 1, "maxLength": 128}
    assert (tags["maxProperties"], tags["additionalProperties"]) == (50, {"type": "string", "maxLength": 256})


def test_what_the_server_takes_beyond_the_model_is_allowed() -> None:
    """An action in any case, and tags that are an empty map."""
    assert SCHEMAS["EvaluateOnExit"]["properties"]["action"] == {"type": "string"}
    assert "minProperties" not in SCHEMAS["SubmitJobRequest"]["properties"]["tags"]
