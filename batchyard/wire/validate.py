"""Checks parameters against a model shape, compiled once to closures.

A compiled check takes a value, its path and the list of failures so far, and returns the value as a handler should
see it: members under their model names, unknown and null members gone, blobs decoded to bytes. It reports what is
wrong and goes on, so that one answer names all that a client has to mend. Paths are linked tuples, rendered to text
only for a failure: a request that is right pays for none of it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from batchyard.exceptions import ApiError

# Values that the service takes in any case although the model lists them in one: the guide says of
# evaluateOnExit's action that its values aren't case sensitive. Handlers see them as they were sent.
LENIENT_ENUMS = frozenset({"RetryAction"})

# Shapes that the service takes empty although the model wants one entry: Airflow submits every job with `tags: {}`.
LENIENT_MINIMA = frozenset({"TagrisTagsMap"})

# How many failures one answer spells out; the others are only counted.
MAX_FAILURES = 10

_INT_RANGES = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}

Path = tuple[Any, str] | None
Check = Callable[[Any, Path, "Failures"], Any]
Validator = Callable[[dict[str, Any]], dict[str, Any]]


class Failures:
    """What is wrong with one request."""

    __slots__ = ("count", "texts")

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []

    def add(self, path: Path, constraint: str) -> None:
        self.count += 1
        if self.count <= MAX_FAILURES:
            self.texts.append(f"Value at '{render(path)}' failed to satisfy constraint: {constraint}")

    def message(self) -> str:
        errors = "error" if self.count == 1 else "errors"
        return f"{self.count} validation {errors} detected: {'; '.join(self.texts)}"


def render(path: Path) -> str:
    """The member's path as AWS writes it: `environment.1.member.name`."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        parts.append(name if len(name) <= 128 else name[:128] + "…")
    return ".".join(reversed(parts))


def compile_validator(shape: Any, error_code: str, memo: dict[str, Check]) -> Validator:
    """A function that returns the cleaned parameters or raises one ApiError that names every failure.

    `memo` holds the structures compiled so far, so that operations of one service share them.
    """
    if shape is None:
        return lambda params: {}
    check = compile_check(shape, memo)

    def validate(params: dict[str, Any]) -> dict[str, Any]:
        failures = Failures()
        clean: dict[str, Any] = check(params, None, failures)
        if failures.count:
            raise ApiError(error_code, failures.message())
        return clean

    return validate


def compile_check(shape: Any, memo: dict[str, Check]) -> Check:
    kind = shape.type_name
    if kind == "structure":
        return memo[shape.name] if shape.name in memo else _structure(shape, memo)
    if kind == "list":
        return _list(shape, memo)
    if kind == "map":
        return _map(shape, memo)
    if kind in _INT_RANGES:
        return _integer(shape)
    return _SCALARS[kind](shape)


def _structure(shape: Any, memo: dict[str, Check]) -> Check:
    required = tuple(shape.required_members)
    members: dict[str, tuple[str, Check]] = {}

    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not dict:
            failures.add(path, "Member must be an object")
            return value
        clean = {}
        for wire_name, item in value.items():
            member = members.get(wire_name)
            if member is not None and item is not None:
                name, check_item = member
                clean[name] = check_item(item, (path, name), failures)
        for name in required:
            if name not in clean:
                failures.add((path, name), "Member must not be null")
        return clean

    # Into the memo before the members are compiled: a structure may hold itself.
    memo[shape.name] = check
    for name, member_shape in shape.members.items():
        members[member_shape.serialization.get("name", name)] = (name, compile_check(member_shape, memo))
    return check


def _list(shape: Any, memo: dict[str, Check]) -> Check:
    check_item = compile_check(shape.member, memo)
    check_length = _length(shape)

    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not list:
            failures.add(path, "Member must be a list")
            return value
        if check_length is not None:
            check_length(len(value), path, failures)
        clean = []
        for index, item in enumerate(value, 1):
            item_path = ((path, str(index)), "member")
            if item is None:
                failures.add(item_path, "Member must not be null")
            else:
                clean.append(check_item(item, item_path, failures))
        return clean

    return check


def _map(shape: Any, memo: dict[str, Check]) -> Check:
    check_key = compile_check(shape.key, memo)
    check_item = compile_check(shape.value, memo)
    check_length = _length(shape)

    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not dict:
            failures.add(path, "Member must be a map")
            return value
        if check_length is not None:
            check_length(len(value), path, failures)
        clean = {}
        for key, item in value.items():
            item_path = (path, key)
            check_key(key, item_path, failures)
            if item is not None:
                clean[key] = check_item(item, item_path, failures)
        return clean

    return check


def _string(shape: Any) -> Check:
    allowed = shape.metadata.get("enum")
    if allowed:
        return _enum(shape.name, allowed)
    check_length = _length(shape)
    pattern = compile_pattern(shape.metadata.get("pattern"))

    def check_plain(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not str:
            failures.add(path, "Member must be a string")
        return value

    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not str:
            failures.add(path, "Member must be a string")
            return value
        before = failures.count
        if check_length is not None:
            check_length(len(value), path, failures)
        # An over-long text isn't worth the regular expression's time.
        if pattern is not None and failures.count == before and not pattern.fullmatch(value):
            failures.add(path, f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}")
        return value

    return check_plain if check_length is None and pattern is None else check


def _enum(shape_name: str, allowed: list[str]) -> Check:
    lenient = shape_name in LENIENT_ENUMS
    values = frozenset(value.upper() for value in allowed) if lenient else frozenset(allowed)
    constraint = f"Member must satisfy enum value set: [{', '.join(allowed)}]"

    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not str or (value.upper() if lenient else value) not in values:
            failures.add(path, constraint)
        return value

    return check


def _integer(shape: Any) -> Check:
    lowest, highest = _INT_RANGES[shape.type_name]
    type_text = f"Member must be an integer between {lowest} and {highest}"
    check_range = _range(shape)

    def check(value: Any, path: Path, failures: Failures) -> Any:
        # `type` and not isinstance: True is an int to Python, and isn't one in JSON.
        if type(value) is not int or not lowest <= value <= highest:
            failures.add(path, type_text)
        elif check_range is not None:
            check_range(value, path, failures)
        return value

    return check


def _number(shape: Any) -> Check:
    """Floats, doubles and timestamps; a timestamp is seconds since the epoch in every protocol."""
    check_range = _range(shape)

    def check(value: Any, path: Path, failures: Failures) -> Any:
        number = _finite(value)
        if number is None:
            failures.add(path, "Member must be a number")
        elif check_range is not None:
            check_range(number, path, failures)
        return value

    return check


def _finite(value: Any) -> float | None:
    if type(value) is not int and type(value) is not float:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _boolean(shape: Any) -> Check:
    def check(value: Any, path: Path, failures: Failures) -> Any:
        if type(value) is not bool:
            failures.add(path, "Member must be a boolean")
        return value

    return check


def _blob(shape: Any) -> Check:
    check_length = _length(shape)

    def check(value: Any, path: Path, failures: Failures) -> Any:
        try:
            data = base64.b64decode(value.encode("ascii"), validate=True)
        except (AttributeError, UnicodeEncodeError, binascii.Error):
            failures.add(path, "Member must be Base64 text")
            return value
        if check_length is not None:
            check_length(len(data), path, failures)
        return data

    return check


_SCALARS: dict[str, Callable[[Any], Check]] = {
    "string": _string,
    "character": _string,
    "float": _number,
    "double": _number,
    "timestamp": _number,
    "boolean": _boolean,
    "blob": _blob,
}


def _length(shape: Any) -> Callable[[int, Path, Failures], None] | None:
    minimum = None if shape.name in LENIENT_MINIMA else shape.metadata.get("min")
    return _bounds("length", minimum, shape.metadata.get("max"))


def _range(shape: Any) -> Callable[[float, Path, Failures], None] | None:
    return _bounds("value", shape.metadata.get("min"), shape.metadata.get("max"))


def _bounds(what: str, minimum: float | None, maximum: float | None) -> Callable[[float, Path, Failures], None] | None:
    """A check of a length or a value; None when the model sets no bound."""
    if minimum is None and maximum is None:
        return None
    low = -math.inf if minimum is None else minimum
    high = math.inf if maximum is None else maximum

    def check(value: float, path: Path, failures: Failures) -> None:
        if value < low:
            failures.add(path, f"Member must have {what} greater than or equal to {low}")
        elif value > high:
            failures.add(path, f"Member must have {what} less than or equal to {high}")

    return check


def compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    r"""The model's regular expression in Python's dialect, or None where that has no equal.

    The models are written in Java's: Unicode classes such as \p{L} and five-digit \u escapes.
    """
    if pattern is None:
        return None
    translated = re.sub(r"\\u([0-9A-Fa-f]{5,6})(?=[\]\-])", lambda match: f"\\U{match[1]:0>8}", pattern)
    translated = translated.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\d").replace(r"\p{Z}", r"\s")
    # Java's \w is ASCII; the Unicode classes above are not.
    flags = re.UNICODE if r"\p{" in pattern else re.ASCII
    try:
        return re.compile(translated, flags)
    except re.error:
        return None
