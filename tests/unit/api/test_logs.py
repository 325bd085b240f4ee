from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import insert

from batchyard.api import logs as api_logs
from batchyard.logframes import frame, log_path
from batchyard.store.tables import log_streams
from tests.unit.api.harness import World, refusal

GROUP = "/aws/batch/job"
NO_STREAM = "The specified log stream does not exist."
NO_GROUP = "The specified log group does not exist."


def stream(
    world: World,
    name: str,
    lines: list[tuple[int, str]],
    *,
    group: str = GROUP,
    created_at_ms: int = 1000,
    closed_at_ms: int | None = 9000,
) -> str:
    """A log stream whose events come at these times; the attempt has ended unless it is told otherwise."""
    attempt_id = world.context.ids.new()
    row = {
        "log_group": group,
        "name": name,
        "log_id": attempt_id,
        "created_at_ms": created_at_ms,
        "closed_at_ms": closed_at_ms,
    }
    world.write(lambda connection: connection.execute(insert(log_streams), row) and None)
    append(world, attempt_id, lines)
    return attempt_id


def append(world: World, attempt_id: str, lines: list[tuple[int, str]]) -> None:
    path = log_path(world.logs_dir, attempt_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(frame(at_ms, f"{line}\n".encode()) for at_ms, line in lines))


def call(world: World, operation: str, **params: Any) -> dict[str, Any]:
    return world.call(operation, service="logs", **params)


def get(world: World, name: str = "s", **params: Any) -> dict[str, Any]:
    return call(world, "GetLogEvents", logGroupName=GROUP, logStreamName=name, **params)


def messages(page: dict[str, Any]) -> list[str]:
    return [event["message"] for event in page["events"]]


def numbered(count: int, step_ms: int = 10) -> list[tuple[int, str]]:
    return [(1000 + step_ms * number, f"line {number}") for number in range(count)]


# GetLogEvents


def test_reading_forward_ends_with_an_unchanged_token(world: World) -> None:
    stream(world, "s", numbered(5))
    page = get(world, startFromHead=True, limit=2)
    assert messages(page) == ["line 0", "line 1"]
    assert page["events"][0] == {"timestamp": 1000, "message": "line 0", "ingestionTime": 1000}
    seen, token = messages(page), page["nextForwardToken"]
    for _ in range(10):
        page = get(world, startFromHead=True, limit=2, nextToken=token)
        seen += messages(page)
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert page["events"] == []
    assert seen == [f"line {number}" for number in range(5)]


def test_reading_backward_works_without_start_from_head(world: World) -> None:
    stream(world, "s", numbered(5))
    page = get(world, limit=2)
    assert messages(page) == ["line 3", "line 4"]
    page = get(world, limit=2, nextToken=page["nextBackwardToken"])
    assert messages(page) == ["line 1", "line 2"]
    page = get(world, limit=2, nextToken=page["nextBackwardToken"])
    assert messages(page) == ["line 0"]
    last = get(world, limit=2, nextToken=page["nextBackwardToken"])
    assert last["events"] == []
    assert last["nextBackwardToken"] == page["nextBackwardToken"]


def test_a_token_turns_around_where_its_page_was(world: World) -> None:
    stream(world, "s", numbered(6))
    page = get(world, startFromHead=True, limit=3)
    page = get(world, startFromHead=True, limit=2, nextToken=page["nextForwardToken"])
    assert messages(page) == ["line 3", "line 4"]
    assert messages(get(world, limit=2, nextToken=page["nextBackwardToken"])) == ["line 1", "line 2"]
    page = get(world, limit=2)
    assert messages(get(world, startFromHead=True, nextToken=page["nextForwardToken"])) == []


def test_a_token_goes_on_when_the_log_has_grown(world: World) -> None:
    attempt_id = stream(world, "s", numbered(2), closed_at_ms=None)
    token = get(world, startFromHead=True)["nextForwardToken"]
    assert get(world, startFromHead=True, nextToken=token)["events"] == []
    append(world, attempt_id, [(2000, "more")])
    assert messages(get(world, startFromHead=True, nextToken=token)) == ["more"]


def test_the_time_range_has_its_start_and_not_its_end(world: World) -> None:
    stream(world, "s", numbered(5))
    for start_from_head in (True, False):
        page = get(world, startFromHead=start_from_head, startTime=1010, endTime=1030)
        assert messages(page) == ["line 1", "line 2"]


def test_a_stream_without_output_reads_as_an_empty_page(world: World) -> None:
    stream(world, "s", [], closed_at_ms=None)
    assert get(world)["events"] == []
    assert get(world, startFromHead=True)["events"] == []


def test_a_last_line_without_newline_counts_once_the_attempt_has_ended(world: World) -> None:
    attempt_id = stream(world, "open", [(1000, "whole")], closed_at_ms=None)
    with log_path(world.logs_dir, attempt_id).open("ab") as file:
        file.write(frame(1001, b"half"))
    assert messages(get(world, "open")) == ["whole"]
    attempt_id = stream(world, "ended", [(1000, "whole")])
    with log_path(world.logs_dir, attempt_id).open("ab") as file:
        file.write(frame(1001, b"half"))
    assert messages(get(world, "ended")) == ["whole", "half"]


@pytest.mark.parametrize(
    "identifier",
    [GROUP, f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:*", f"arn:aws:logs:r:1:log-group:{GROUP}"],
)
def test_a_group_is_named_by_name_or_arn(world: World, identifier: str) -> None:
    stream(world, "s", numbered(1))
    page = call(world, "GetLogEvents", logGroupIdentifier=identifier, logStreamName="s")
    assert messages(page) == ["line 0"]


BAD_READS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such stream": ({"logStreamName": "x"}, "ResourceNotFoundException", NO_STREAM),
    "no such group": ({"logGroupName": "x"}, "ResourceNotFoundException", NO_GROUP),
    "no group at all": ({"logGroupName": ""}, "InvalidParameterException", "Exactly one of logGroupName"),
    "two groups": ({"logGroupIdentifier": GROUP}, "InvalidParameterException", "Exactly one of logGroupName"),
    **{
        f"token {token}": (
            {"nextToken": token},
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        )
        for token in ("x", "f", "f/", "f/1", "g/0.0", "f/0.0/s", "f/-1.0", "f/7.0", "f/0.99", "b/99999.0", "f/٣.0")
    },
}


@pytest.mark.parametrize("case", BAD_READS)
def test_bad_reads_are_refused(world: World, case: str) -> None:
    changes, code, text = BAD_READS[case]
    stream(world, "s", [(1000, "a longer line")])
    params = {"logGroupName": GROUP, "logStreamName": "s", **changes}
    error = refusal(world, "GetLogEvents", service="logs", **params)
    assert error.code == code
    assert error.message.startswith(text)


# DescribeLogStreams


def names(page: dict[str, Any]) -> list[str]:
    return [each["logStreamName"] for each in page["logStreams"]]


def test_streams_are_described_with_the_times_of_their_events(world: World) -> None:
    stream(world, "d/default/1", numbered(3), created_at_ms=990)
    stream(world, "d/default/2", [], created_at_ms=995, closed_at_ms=None)
    assert call(world, "DescribeLogStreams", logGroupName=GROUP)["logStreams"] == [
        {
            "logStreamName": "d/default/1",
            "creationTime": 990,
            "arn": f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:log-stream:d/default/1",
            "storedBytes": 0,
            "firstEventTimestamp": 1000,
            "lastEventTimestamp": 1020,
            "lastIngestionTime": 1020,
        },
        {
            "logStreamName": "d/default/2",
            "creationTime": 995,
            "arn": f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:log-stream:d/default/2",
            "storedBytes": 0,
        },
    ]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order_by", ["LogStreamName", "LastEventTime"])
def test_streams_are_paged_in_order(world: World, order_by: str, descending: bool) -> None:
    ends = {"a": 5000, "b": 3000, "c": None, "d": 3000, "e": None}
    for age, (name, closed_at_ms) in enumerate(ends.items()):
        stream(world, name, [], created_at_ms=age, closed_at_ms=closed_at_ms)
    expected = ["a", "b", "c", "d", "e"] if order_by == "LogStreamName" else ["b", "d", "a", "c", "e"]
    params = {"logGroupName": GROUP, "orderBy": order_by, "descending": descending, "limit": 2}
    found, token = [], {}
    while True:
        page = call(world, "DescribeLogStreams", **params, **token)
        found += names(page)
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == (expected[::-1] if descending else expected)


def test_a_prefix_is_literal(world: World) -> None:
    for name in ("a_b/1", "a_b/2", "axb/1", "a%", "b"):
        stream(world, name, [])
    assert names(call(world, "DescribeLogStreams", logGroupName=GROUP, logStreamNamePrefix="a_b/")) == [
        "a_b/1",
        "a_b/2",
    ]
    assert names(call(world, "DescribeLogStreams", logGroupName=GROUP, logStreamNamePrefix="a%")) == ["a%"]


def test_streams_of_another_group_are_not_shown(world: World) -> None:
    stream(world, "s", [])
    stream(world, "mine", [], group="own")
    assert names(call(world, "DescribeLogStreams", logGroupName="own")) == ["mine"]


def test_bad_stream_queries_are_refused(world: World) -> None:
    error = refusal(world, "DescribeLogStreams", service="logs", logGroupName="x")
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_GROUP)
    params = {"logGroupName": GROUP, "logStreamNamePrefix": "a", "orderBy": "LastEventTime"}
    error = refusal(world, "DescribeLogStreams", service="logs", **params)
    assert error.code == "InvalidParameterException"
    error = refusal(world, "DescribeLogStreams", service="logs", logGroupName=GROUP, nextToken="x")
    assert error.message == "The specified nextToken is invalid."


# Groups


def groups(world: World, **params: Any) -> list[str]:
    return [group["logGroupName"] for group in call(world, "DescribeLogGroups", **params)["logGroups"]]


def test_the_default_group_is_always_there(world: World) -> None:
    assert groups(world) == [GROUP]
    assert call(world, "DescribeLogStreams", logGroupName=GROUP)["logStreams"] == []


def test_a_group_is_there_once_it_has_a_stream(world: World) -> None:
    stream(world, "s", [], group="own", created_at_ms=77)
    described = call(world, "DescribeLogGroups", logGroupNamePrefix="o")["logGroups"]
    assert described == [
        {
            "logGroupName": "own",
            "creationTime": 77,
            "metricFilterCount": 0,
            "arn": "arn:aws:logs:us-east-1:123456789012:log-group:own:*",
            "logGroupArn": "arn:aws:logs:us-east-1:123456789012:log-group:own",
            "storedBytes": 0,
            "logGroupClass": "STANDARD",
        }
    ]


def test_groups_are_filtered_and_paged(world: World) -> None:
    for name in ("alpha", "beta", "gamma"):
        stream(world, "s", [], group=name)
    assert groups(world, logGroupNamePattern="amm") == ["gamma"]
    assert groups(world, logGroupIdentifiers=["beta"]) == ["beta"]
    assert groups(world, logGroupClass="INFREQUENT_ACCESS") == []
    page = call(world, "DescribeLogGroups", limit=3)
    assert [each["logGroupName"] for each in page["logGroups"]] == [GROUP, "alpha", "beta"]
    assert groups(world, limit=3, nextToken=page["nextToken"]) == ["gamma"]


def test_retention_is_set_shown_and_taken_away(world: World) -> None:
    call(world, "PutRetentionPolicy", logGroupName=GROUP, retentionInDays=7)
    assert call(world, "DescribeLogGroups")["logGroups"][0]["retentionInDays"] == 7
    call(world, "DeleteRetentionPolicy", logGroupName=GROUP)
    assert "retentionInDays" not in call(world, "DescribeLogGroups")["logGroups"][0]


def test_bad_group_requests_are_refused(world: World) -> None:
    error = refusal(world, "PutRetentionPolicy", service="logs", logGroupName=GROUP, retentionInDays=2)
    assert error.code == "InvalidParameterException"
    assert "Value '2' at 'retentionInDays'" in error.message
    error = refusal(world, "PutRetentionPolicy", service="logs", logGroupName="x", retentionInDays=1)
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_GROUP)
    error = refusal(world, "DeleteLogGroup", service="logs", logGroupName="x")
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_GROUP)
    params = {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}
    assert refusal(world, "DescribeLogGroups", service="logs", **params).code == "InvalidParameterException"
    error = refusal(world, "DescribeLogGroups", service="logs", includeLinkedAccounts=True)
    assert error.message == "includeLinkedAccounts is not built in Batchyard yet"


def test_deleting_a_stream_deletes_its_events(world: World) -> None:
    attempt_id = stream(world, "s", numbered(3))
    call(world, "DeleteLogStream", logGroupName=GROUP, logStreamName="s")
    assert not log_path(world.logs_dir, attempt_id).exists()
    error = refusal(world, "DeleteLogStream", service="logs", logGroupName=GROUP, logStreamName="s")
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_STREAM)


def test_deleting_a_group_deletes_its_streams(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_logs.log_groups, "STREAMS_PER_DELETE", 2)
    attempts = [stream(world, f"s{number}", numbered(1), group="own") for number in range(4)]
    kept = stream(world, "s", numbered(1))
    call(world, "DeleteLogGroup", logGroupName="own")
    assert groups(world) == [GROUP]
    assert not any(log_path(world.logs_dir, attempt_id).exists() for attempt_id in attempts)
    assert log_path(world.logs_dir, kept).exists()
    call(world, "DeleteLogGroup", logGroupName=GROUP)
    assert groups(world) == [GROUP]
    assert not log_path(world.logs_dir, kept).exists()


# FilterLogEvents


def search(world: World, **params: Any) -> list[str]:
    """The messages of all pages."""
    found, token = [], {}
    for _ in range(1000):
        page = call(world, "FilterLogEvents", **{"logGroupName": GROUP, **params}, **token)
        assert len(page["events"]) <= params.get("limit", 10_000)
        found += messages(page)
        if "nextToken" not in page:
            return found
        token = {"nextToken": page["nextToken"]}
    raise AssertionError("the search does not end")


@pytest.fixture
def searched(world: World) -> World:
    stream(world, "a/1", [(1000, "start one"), (1020, "ERROR disk full"), (1040, "end one")], created_at_ms=1)
    stream(world, "a/2", [(1010, "start two"), (1030, "WARN exit code 3"), (1050, "end two")], created_at_ms=2)
    stream(world, "b/1", [(1005, "other")], created_at_ms=3)
    return world


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_events_of_many_streams_are_interleaved_by_time(searched: World, limit: int) -> None:
    assert search(searched, limit=limit) == [
        "start one",
        "other",
        "start two",
        "ERROR disk full",
        "WARN exit code 3",
        "end one",
        "end two",
    ]


def test_a_found_event_says_where_it_is_from(searched: World) -> None:
    page = call(searched, "FilterLogEvents", logGroupName=GROUP, limit=2)
    assert page["searchedLogStreams"] == []
    first, second = page["events"]
    assert (first["logStreamName"], first["timestamp"], first["ingestionTime"]) == ("a/1", 1000, 1000)
    assert first["eventId"] != second["eventId"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"logStreamNamePrefix": "a/"},
            ["start one", "start two", "ERROR disk full", "WARN exit code 3", "end one", "end two"],
        ),
        ({"logStreamNames": ["a/1", "b/1"]}, ["start one", "other", "ERROR disk full", "end one"]),
        ({"startTime": 1010, "endTime": 1030}, ["start two", "ERROR disk full", "WARN exit code 3"]),
        ({"filterPattern": "start"}, ["start one", "start two"]),
        ({"filterPattern": "?ERROR ?WARN"}, ["ERROR disk full", "WARN exit code 3"]),
        ({"filterPattern": '"exit code" -ERROR'}, ["WARN exit code 3"]),
        ({"filterPattern": "nothing"}, []),
        (
            {"filterPattern": ""},
            ["start one", "other", "start two", "ERROR disk full", "WARN exit code 3", "end one", "end two"],
        ),
    ],
)
@pytest.mark.parametrize("limit", [1, 10_000])
def test_searches_are_narrowed(searched: World, params: dict[str, Any], expected: list[str], limit: int) -> None:
    assert search(searched, limit=limit, **params) == expected


def test_more_streams_than_fit_have_their_turn_by_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_logs.log_search, "MAX_STREAMS", 3)
    for number in range(8):
        lines = [(1000 + number, f"{number} first"), (2000 + number, f"{number} second")]
        stream(world, f"s{number}", lines, created_at_ms=number)
    expected = [
        f"{number} {which}"
        for turn in ((0, 1, 2), (3, 4, 5), (6, 7))
        for which, number in itertools.product(("first", "second"), turn)
    ]
    for limit in (1, 2, 5, 100):
        assert search(world, limit=limit) == expected


def test_a_call_looks_through_a_bounded_amount(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_logs.log_search, "MAX_SCANNED_BYTES", 200)
    stream(world, "s", [*numbered(50), (5000, "needle")])
    page = call(world, "FilterLogEvents", logGroupName=GROUP, filterPattern="needle")
    assert page["events"] == []
    assert "nextToken" in page
    assert search(world, filterPattern="needle") == ["needle"]


def test_a_page_of_events_has_a_bounded_size(world: World) -> None:
    stream(world, "s", [(1000 + number, f"{number:02}" * 30_000) for number in range(40)])
    page = call(world, "FilterLogEvents", logGroupName=GROUP)
    assert 12 < len(page["events"]) < 18
    assert len(search(world)) == 40


def test_a_search_goes_on_when_streams_come_and_go(searched: World) -> None:
    page = call(searched, "FilterLogEvents", logGroupName=GROUP, limit=2)
    call(searched, "DeleteLogStream", logGroupName=GROUP, logStreamName="a/2")
    stream(searched, "c", [(1, "new")], created_at_ms=4)
    following = call(searched, "FilterLogEvents", logGroupName=GROUP, nextToken=page["nextToken"])
    assert messages(following) == ["ERROR disk full", "end one"]
    last = call(searched, "FilterLogEvents", logGroupName=GROUP, nextToken=following["nextToken"])
    assert messages(last) == ["new"]
    assert "nextToken" not in last


BAD_SEARCHES = {
    "JSON pattern": ({"filterPattern": '{ $.level = "x" }'}, "filterPattern: JSON and column patterns are not built"),
    "column pattern": ({"filterPattern": "[ip, user]"}, "filterPattern: JSON and column patterns are not built"),
    "regular expression": ({"filterPattern": "%a.*b%"}, "filterPattern: regular expressions are not built"),
    "open quote": ({"filterPattern": '"open'}, "Invalid filter pattern"),
    "names and prefix": ({"logStreamNames": ["a/1"], "logStreamNamePrefix": "a"}, "logStreamNames and"),
    "newest first": ({"startFromHead": False}, "startFromHead false is not built in Batchyard yet"),
    "forged token": ({"nextToken": "forged"}, "The specified nextToken is invalid."),
    "no group": ({"logGroupName": ""}, "Exactly one of logGroupName and logGroupIdentifier must be given"),
}


@pytest.mark.parametrize("case", BAD_SEARCHES)
def test_bad_searches_are_refused(searched: World, case: str) -> None:
    changes, text = BAD_SEARCHES[case]
    error = refusal(searched, "FilterLogEvents", service="logs", **{"logGroupName": GROUP, **changes})
    assert error.code == "InvalidParameterException"
    assert error.message.startswith(text)


def test_searching_what_does_not_exist_is_refused(searched: World) -> None:
    error = refusal(searched, "FilterLogEvents", service="logs", logGroupName="x")
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_GROUP)
    error = refusal(searched, "FilterLogEvents", service="logs", logGroupName=GROUP, logStreamNames=["x"])
    assert (error.code, error.message) == ("ResourceNotFoundException", NO_STREAM)


def test_a_search_token_belongs_to_its_query(searched: World) -> None:
    token = call(searched, "FilterLogEvents", logGroupName=GROUP, limit=1)["nextToken"]
    params = {"logGroupName": GROUP, "filterPattern": "other", "nextToken": token}
    assert refusal(searched, "FilterLogEvents", service="logs", **params).code == "InvalidParameterException"
