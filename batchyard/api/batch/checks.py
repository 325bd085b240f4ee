"""Rules that several operations share: names, tags, and members of the API that are not built yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from batchyard.exceptions import ApiError
from batchyard.wire import errors

MAX_NAMES_DESCRIBED = 100
MAX_TAGS = 50
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
RESERVED_TAG_PREFIX = "batchyard:"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def check_name(what: str, name: str) -> None:
    """Up to 128 letters, digits, hyphens and underscores (service model)."""
    if not _NAME.fullmatch(name):
        raise errors.executing_request(f"{what} name should match valid pattern")


def check_described(member: str, names: list[str]) -> None:
    """A Describe operation takes up to 100 names at a time (facts §14)."""
    if len(names) > MAX_NAMES_DESCRIBED:
        raise errors.executing_request(f"Maximum number of {member} supported is  {MAX_NAMES_DESCRIBED}")


def refuse_not_built(members: dict[str, Any], names: Iterable[str], prefix: str = "") -> None:
    """Refuse members that Batchyard would have to ignore. Empty ones ask for nothing."""
    for name in names:
        if members.get(name) not in (None, "", [], {}):
            raise errors.not_built(f"{prefix}{name}")


def check_limit(what: str, count: int, most: int) -> None:
    """One more of `what` when there are `count`; a limit of 0 is none. The wording is the service's for definitions."""
    if most and count >= most:
        raise errors.executing_request(f"Limits Error: number of {what} is above the limits {most}")


def does_not_exist(arn: str) -> ApiError:
    """Clients look for the resource's path in front of `does not exist` (facts §3)."""
    return errors.client_exception(f"{arn} does not exist")


def check_tags(tags: dict[str, str]) -> None:
    """At most 50, keys of 1 to 128 characters, values up to 256, no `aws:` keys (facts §14)."""
    if len(tags) > MAX_TAGS:
        raise errors.client_exception(f"The maximum number of tags per resource is {MAX_TAGS}")
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_TAG_KEY:
            raise errors.client_exception(f"Tag keys must have 1 to {MAX_TAG_KEY} characters")
        if len(value) > MAX_TAG_VALUE:
            raise errors.client_exception(f"The value of tag {key} has more than {MAX_TAG_VALUE} characters")
        if key.lower().startswith("aws:"):
            raise errors.client_exception(f"Tag key {key} is not valid: keys that begin with aws: are reserved")
        if key.startswith(RESERVED_TAG_PREFIX):
            raise errors.not_built(f"Tag {key}")
