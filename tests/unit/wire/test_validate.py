from __future__ import annotations

from typing import Any

import pytest
from botocore.model import DenormalizedStructureBuilder

from batchyard.exceptions import ApiError
from batchyard.wire.validate import MAX_FAILURES, compile_pattern, compile_validator
from tests.unit.wire.harness import CONTRACT

PROPERTIES = {"image": "busybox"}
DEFINITION: dict[str, Any] = {"jobDefinitionName": "sleep", "type": "container"}
SUBMIT: dict[str, Any] = {"jobName": "one", "jobQueue": "default", "jobDefinition": "sleep"}


def validated(operation: str, params: dict[str, Any], service: str = "batch") -> dict[str, Any]:
    return CONTRACT.services[service].operation(operation).validate(params)


def refusal(operation: str, params: dict[str, Any], service: str = "batch") -> ApiError:
    with pytest.raises(ApiError) as caught:
        validated(operation, params, service)
    return caught.value


def sample(members: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    shape = DenormalizedStructureBuilder().with_members(members).build_model()
    return compile_validator(shape, "ClientException", {})(params)


def sample_refusal(members: dict[str, Any], params: dict[str, Any]) -> str:
    with pytest.raises(ApiError) as caught:
        sample(members, params)
    return caught.value.message


def test_unknown_members_are_dropped_at_every_depth() -> None:
    params = {**SUBMIT, "new": 1, "timeout": {"attemptDurationSeconds": 60, "new": {"a": 1}}}
    assert validated("SubmitJob", params) == {**SUBMIT, "timeout": {"attemptDurationSeconds": 60}}


def test_null_members_are_absent() -> None:
    params = {**SUBMIT, "tags": None, "containerOverrides": {"command": None}, "parameters": {"a": None, "b": "c"}}
    assert validated("SubmitJob", params) == {**SUBMIT, "containerOverrides": {}, "parameters": {"b": "c"}}


def test_empty_and_false_values_are_kept() -> None:
    properties = {"command": [], "privileged": False, "jobRoleArn": "", "ulimits": []}
    params = {**DEFINITION, "containerProperties": properties}
    assert validated("RegisterJobDefinition", params) == params


def test_a_missing_member_is_named_as_the_service_names_it() -> None:
    error = refusal("SubmitJob", {"jobQueue": "q", "jobDefinition": "d"})
    assert (error.code, error.http_status) == ("ClientException", 400)
    assert error.message == (
        "1 validation error detected: Value at 'jobName' failed to satisfy constraint: Member must not be null"
    )


def test_a_null_is_no_substitute_for_a_required_member() -> None:
    assert "Value at 'jobName'" in refusal("SubmitJob", {**SUBMIT, "jobName": None}).message


def test_all_failures_are_answered_at_once() -> None:
    message = refusal("SubmitJob", {"jobName": 1, "jobQueue": "q", "timeout": {"attemptDurationSeconds": "5"}}).message
    assert message.startswith("3 validation errors detected: ")
    for path in ("jobName", "jobDefinition", "timeout.attemptDurationSeconds"):
        assert f"Value at '{path}' failed" in message


def test_only_the_first_failures_are_spelled_out() -> None:
    message = refusal("DescribeJobs", {"jobs": [1] * 100}).message
    assert message.startswith("100 validation errors detected: ")
    assert message.count("Value at") == MAX_FAILURES


def test_a_path_names_list_items_by_number_and_map_entries_by_key() -> None:
    overrides = {"environment": [{"name": "A"}, {"name": 5}]}
    message = refusal("SubmitJob", {**SUBMIT, "containerOverrides": overrides, "parameters": {"k": 5}}).message
    assert "'containerOverrides.environment.2.member.name'" in message
    assert "'parameters.k'" in message


def test_a_long_map_key_is_cut_in_the_text() -> None:
    assert len(refusal("SubmitJob", {**SUBMIT, "parameters": {"k" * 10_000: 5}}).message) < 400


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("batch", "SubmitJob", "ClientException"),
        ("logs", "GetLogEvents", "InvalidParameterException"),
        ("sts", "AssumeRole", "ValidationError"),
    ],
)
def test_each_service_has_its_own_code(service: str, operation: str, code: str) -> None:
    assert refusal(operation, {}, service).code == code


INT = "Member must be an integer between -2147483648 and 2147483647"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("string", 1, "Member must be a string"),
        ("string", True, "Member must be a string"),
        ("string", ["a"], "Member must be a string"),
        ("integer", "1", INT),
        ("integer", 2.0, INT),
        ("integer", True, INT),
        ("integer", 2**31, INT),
        ("integer", -(2**31) - 1, INT),
        ("integer", 10**300, INT),
        ("long", 2**63, "Member must be an integer between -9223372036854775808 and 9223372036854775807"),
        ("double", "1.5", "Member must be a number"),
        ("double", False, "Member must be a number"),
        ("double", 10**400, "Member must be a number"),
        ("float", float("nan"), "Member must be a number"),
        ("timestamp", "2023-11-14T22:13:20Z", "Member must be a number"),
        ("boolean", "true", "Member must be a boolean"),
        ("boolean", 1, "Member must be a boolean"),
        ("blob", "not base64!", "Member must be Base64 text"),
        ("blob", "é", "Member must be Base64 text"),
        ("blob", 5, "Member must be Base64 text"),
        ("list", {"a": "b"}, "Member must be a list"),
        ("list", "a", "Member must be a list"),
        ("list", ["a", None], "Member must not be null"),
        ("map", ["a"], "Member must be a map"),
        ("map", "a", "Member must be a map"),
        ("structure", [], "Member must be an object"),
        ("structure", "a", "Member must be an object"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(kind: str, value: Any, text: str) -> None:
    string = {"type": "string"}
    members = {"M": {"type": kind, "member": string, "key": string, "value": string, "members": {}}}
    assert f"failed to satisfy constraint: {text}" in sample_refusal(members, {"M": value})


@pytest.mark.parametrize(
    ("kind", "value", "clean"),
    [
        ("string", "", ""),
        ("integer", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("double", 3, 3),
        ("timestamp", 1_700_000_000.5, 1_700_000_000.5),
        ("boolean", False, False),
        ("blob", "AP8=", b"\x00\xff"),
        ("list", [], []),
        ("map", {}, {}),
        ("structure", {}, {}),
    ],
)
def test_a_value_of_the_right_type_is_taken(kind: str, value: Any, clean: Any) -> None:
    string = {"type": "string"}
    members = {"M": {"type": kind, "member": string, "key": string, "value": string, "members": {}}}
    assert sample(members, {"M": value}) == {"M": clean}


@pytest.mark.parametrize(
    ("kind", "low", "high", "what"),
    [
        ("string", "a", "abcde", "length"),
        ("list", ["a"], ["a"] * 5, "length"),
        ("map", {"a": "b"}, dict.fromkeys("abcde", "b"), "length"),
        ("blob", "AA==", "AAAAAAA=", "length"),
        ("integer", 1, 5, "value"),
        ("double", 1.5, 5.5, "value"),
    ],
)
def test_lengths_and_values_keep_the_bounds_of_the_model(kind: str, low: Any, high: Any, what: str) -> None:
    string = {"type": "string"}
    members = {"M": {"type": kind, "member": string, "key": string, "value": string, "min": 2, "max": 4}}
    assert f"Member must have {what} greater than or equal to 2" in sample_refusal(members, {"M": low})
    assert f"Member must have {what} less than or equal to 4" in sample_refusal(members, {"M": high})


def test_a_pattern_must_match_the_whole_text() -> None:
    name = "a/b c"
    message = refusal("GetLogEvents", {"logGroupName": name, "logStreamName": "s"}, "logs").message
    assert r"'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#" in (
        message
    )


def test_patterns_are_java_s() -> None:
    unicode_classes = compile_pattern(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$")
    assert unicode_classes is not None
    assert unicode_classes.fullmatch("Größe 1")
    astral = compile_pattern(r"[\u0020-\u007E\u10000-\u10FFFF]+")
    assert astral is not None
    assert astral.fullmatch("a😀")
    assert not astral.fullmatch("é")
    ascii_only = compile_pattern(r"[\w]*")
    assert ascii_only is not None
    assert not ascii_only.fullmatch("é")
    assert compile_pattern(r"[\w-_]*") is None


def test_an_enum_is_strict() -> None:
    message = refusal("UpdateJobQueue", {"jobQueue": "q", "state": "enabled"}).message
    assert "'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED]" in message


@pytest.mark.parametrize("action", ["RETRY", "retry", "Exit"])
def test_a_retry_action_is_taken_in_any_case_and_kept_as_sent(action: str) -> None:
    params = {**SUBMIT, "retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onReason": "*", "action": action}]}}
    assert validated("SubmitJob", params) == params


def test_a_job_may_be_submitted_with_no_tags_in_a_map() -> None:
    assert validated("SubmitJob", {**SUBMIT, "tags": {}}) == {**SUBMIT, "tags": {}}


def test_an_operation_without_input_takes_anything_and_passes_nothing() -> None:
    assert compile_validator(None, "ClientException", {})({"a": 1}) == {}
