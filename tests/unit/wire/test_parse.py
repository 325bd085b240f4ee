from __future__ import annotations

from typing import Any

import pytest
from botocore.model import DenormalizedStructureBuilder, ServiceModel

from batchyard.exceptions import ApiError
from batchyard.wire.parse import compile_parser, json_object
from tests.unit.wire.harness import CONTRACT, request

ARN = "arn:aws:batch:us-east-1:123456789012:job-queue/default"


def shape(members: dict[str, Any]) -> Any:
    return DenormalizedStructureBuilder().with_members(members).build_model()


def form(members: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    return compile_parser("query", shape(members))(request(), {}, fields)


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_no_body_is_an_empty_object(body: bytes) -> None:
    assert json_object(body) == {}


def test_of_duplicate_keys_the_last_counts() -> None:
    assert json_object(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b" ",
        b"[]",
        b"null",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'{"a": "\\ud800"}',
        b'{"a": 1} trailing',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\x00\x01\x02",
        b'{"a": ' + b"9" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        json_object(body)
    assert (refusal.value.code, refusal.value.http_status) == ("SerializationException", 400)


def test_members_outside_the_body_are_read_from_where_the_model_puts_them() -> None:
    parse = CONTRACT.services["batch"].operation("UntagResource").parse
    params = parse(request("DELETE", query="tagKeys=a%20b&tagKeys=c&other=d"), {"resourceArn": ARN}, {})
    assert params == {"resourceArn": ARN, "tagKeys": ["a b", "c"]}


def test_members_outside_the_body_are_not_taken_from_the_body() -> None:
    parse = CONTRACT.services["batch"].operation("UntagResource").parse
    body = b'{"resourceArn": "other", "tagKeys": ["x"], "more": 1}'
    assert parse(request("DELETE", body=body), {"resourceArn": ARN}, {}) == {"resourceArn": ARN, "more": 1}


def test_a_query_string_that_cannot_be_decoded_is_refused() -> None:
    parse = CONTRACT.services["batch"].operation("UntagResource").parse
    with pytest.raises(ApiError, match="can't be decoded"):
        parse(request("DELETE", query="tagKeys=%ff"), {"resourceArn": ARN}, {})


def test_headers_and_typed_query_members_are_read_by_their_shape() -> None:
    model = ServiceModel(
        {
            "metadata": {"protocol": "rest-json", "apiVersion": "1", "endpointPrefix": "x"},
            "operations": {},
            "shapes": {
                "In": {
                    "type": "structure",
                    "members": {
                        "token": {"shape": "Text", "location": "header", "locationName": "X-Token"},
                        "limit": {"shape": "Number", "location": "querystring", "locationName": "max"},
                        "all": {"shape": "Flag", "location": "querystring", "locationName": "all"},
                        "absent": {"shape": "Text", "location": "header", "locationName": "X-Absent"},
                    },
                },
                "Text": {"type": "string"},
                "Number": {"type": "integer"},
                "Flag": {"type": "boolean"},
            },
        }
    )
    parse = compile_parser("rest-json", model.shape_for("In"))
    params = parse(request(query="max=5&all=true", headers={"x-token": "abc"}), {}, {})
    assert params == {"X-Token": "abc", "max": 5, "all": True}


def test_a_form_gives_lists_maps_and_structures() -> None:
    members = {
        "Name": {"type": "string"},
        "Tags": {
            "type": "list",
            "member": {"type": "structure", "members": {"Key": {"type": "string"}, "Count": {"type": "integer"}}},
        },
        "Options": {"type": "map", "key": {"type": "string"}, "value": {"type": "boolean"}},
    }
    fields = {
        "Action": "Sample",
        "Version": "1",
        "Name": "a.b",
        # Sorted by number, not as text.
        "Tags.member.10.Key": "ten",
        "Tags.member.2.Key": "two",
        "Tags.member.2.Count": "-7",
        "Options.entry.1.key": "fast",
        "Options.entry.1.value": "true",
        "Options.entry.2.key": "safe",
        "Options.entry.2.value": "false",
    }
    assert form(members, fields) == {
        "Name": "a.b",
        "Tags": [{"Key": "two", "Count": -7}, {"Key": "ten"}],
        "Options": {"fast": True, "safe": False},
    }


def test_a_flattened_list_goes_by_the_name_of_its_items() -> None:
    parse = compile_parser(
        "query",
        ServiceModel(
            {
                "metadata": {"protocol": "query", "apiVersion": "1", "endpointPrefix": "x"},
                "operations": {},
                "shapes": {
                    "In": {"type": "structure", "members": {"Names": {"shape": "Names"}, "Plain": {"shape": "Plain"}}},
                    "Names": {
                        "type": "list",
                        "flattened": True,
                        "member": {"shape": "Text", "locationName": "Name"},
                    },
                    "Plain": {"type": "list", "flattened": True, "member": {"shape": "Text"}},
                    "Text": {"type": "string"},
                },
            }
        ).shape_for("In"),
    )
    assert parse(request(), {}, {"Name.1": "a", "Name.2": "b", "Plain.1": "c"}) == {"Names": ["a", "b"], "Plain": ["c"]}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "12", 12),
        ("integer", "twelve", "twelve"),
        ("integer", "9" * 5000, "9" * 5000),
        ("double", "1.5", 1.5),
        ("double", "much", "much"),
        ("boolean", "yes", "yes"),
        ("timestamp", "2023-11-14T22:13:20Z", 1_700_000_000),
        ("timestamp", "2023-11-14T22:13:20", 1_700_000_000),
        ("timestamp", "1700000000", 1_700_000_000),
        ("timestamp", "now", "now"),
    ],
)
def test_text_is_read_by_its_shape_and_left_alone_when_it_does_not_fit(kind: str, text: str, value: Any) -> None:
    assert form({"M": {"type": kind}}, {"M": text}) == {"M": value}


@pytest.mark.parametrize(("kind", "empty"), [("list", []), ("map", {})])
def test_an_empty_field_is_an_empty_collection(kind: str, empty: Any) -> None:
    members = {
        "M": {"type": kind, "member": {"type": "string"}, "key": {"type": "string"}, "value": {"type": "string"}}
    }
    assert form(members, {"M": ""}) == {"M": empty}


@pytest.mark.parametrize(
    "fields",
    [
        {"M": "1", "M.entry.1.key": "a"},
        {"M.entry.1.key": "a", "M": "1"},
        {"M.entry.1.key": "a"},
        {"M.entry.1.value": "a"},
        {"M.entry.1": "a"},
    ],
)
def test_a_form_that_contradicts_itself_is_refused(fields: dict[str, str]) -> None:
    members = {"M": {"type": "map", "key": {"type": "string"}, "value": {"type": "string"}}}
    with pytest.raises(ApiError, match="The form"):
        form(members, fields)


def test_a_form_key_of_many_parts_is_read_to_a_bounded_depth() -> None:
    assert form({"M": {"type": "string"}}, {"x" + ".a" * 200_000: "1"}) == {}
