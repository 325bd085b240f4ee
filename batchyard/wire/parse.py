"""Turns a request into raw parameters, by protocol. Whether they are right is `validate`'s concern.

- rest-json: the JSON body, plus members that the model places in the path, the query string or a header.
- json: the JSON body.
- query: a form whose keys are paths, `Tags.member.1.Key=a`. All its values are text, so numbers and booleans are
  read by the shape they belong to; text that isn't one is left as it is, for `validate` to refuse with its path.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from batchyard.wire import errors
from batchyard.wire.request import Request

# Bounds that no real client comes near; they keep the work for one request small.
MAX_FORM_FIELDS = 2000
MAX_FORM_DEPTH = 32

_decode_json = msgspec.json.Decoder().decode
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")

Form = Mapping[str, str]
Labels = Mapping[str, str]
Parser = Callable[[Request, Labels, Form], dict[str, Any]]
Reader = Callable[[Any], Any]


def compile_parser(protocol: str, shape: Any) -> Parser:
    """`shape` is the operation's input structure, or None for an operation without input."""
    if shape is None:
        return lambda request, labels, form: {}
    if protocol == "query":
        return _form_parser(shape)
    placed = {
        name: member
        for name, member in shape.members.items()
        if member.serialization.get("location") in ("uri", "querystring", "header")
    }
    if not placed:
        return lambda request, labels, form: json_object(request.body)
    return _placed_parser(placed)


def json_object(body: bytes) -> dict[str, Any]:
    """The body's JSON object; an empty body is an empty object."""
    if not body:
        return {}
    try:
        value = _decode_json(body)
    except RecursionError:
        raise errors.malformed("The request body is nested too deeply") from None
    except ValueError as error:
        # UnicodeDecodeError and all of msgspec's own errors are ValueErrors.
        raise errors.malformed(f"The request body is not valid JSON: {error}") from None
    if type(value) is not dict:
        raise errors.malformed("The request body must be a JSON object")
    return value


def query_fields(text: str) -> list[tuple[str, str]]:
    """The fields of a form or a query string, in order."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise errors.malformed("The form or query string can't be decoded") from error


def _placed_parser(placed: dict[str, Any]) -> Parser:
    """For operations with members outside the body; the same names in the body count for nothing."""
    wire_names = {member.serialization.get("name", name) for name, member in placed.items()}
    readers = [_placed_reader(name, member) for name, member in placed.items()]

    def parse(request: Request, labels: Labels, form: Form) -> dict[str, Any]:
        params = {name: value for name, value in json_object(request.body).items() if name not in wire_names}
        fields = query_fields(request.query) if request.query else []
        for read in readers:
            read(params, request, labels, fields)
        return params

    return parse


def _placed_reader(name: str, member: Any) -> Callable[[dict[str, Any], Request, Labels, list[tuple[str, str]]], None]:
    """Puts one member into the parameters, under the name by which `validate` looks for it."""
    location = member.serialization["location"]
    wire_name = member.serialization.get("name", name)
    is_list = member.type_name == "list"
    read = _text_reader(member.member if is_list else member)
    header_name = wire_name.lower().encode("latin-1")

    def texts_of(request: Request, labels: Labels, fields: list[tuple[str, str]]) -> list[str]:
        if location == "uri":
            return [labels[wire_name]] if wire_name in labels else []
        if location == "header":
            return [request.header(header_name)] if header_name in request.headers else []
        return [value for key, value in fields if key == wire_name]

    def put(params: dict[str, Any], request: Request, labels: Labels, fields: list[tuple[str, str]]) -> None:
        texts = texts_of(request, labels, fields)
        if texts:
            values = [read(text) for text in texts]
            params[wire_name] = values if is_list else values[0]

    return put


def _form_parser(shape: Any) -> Parser:
    read = _compile_reader(shape, {})

    def parse(request: Request, labels: Labels, form: Form) -> dict[str, Any]:
        fields = {key: value for key, value in form.items() if key not in ("Action", "Version")}
        params: dict[str, Any] = read(_tree(fields))
        return params

    return parse


def _tree(form: Form) -> dict[str, Any]:
    """`{"A.B": "1"}` as `{"A": {"B": "1"}}`."""
    root: dict[str, Any] = {}
    for key, text in form.items():
        *parents, last = key.split(".", MAX_FORM_DEPTH)
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
            if type(node) is not dict:
                raise errors.malformed("The form gives a parameter both a value and members")
        if type(node.get(last)) is dict:
            raise errors.malformed("The form gives a parameter both a value and members")
        node[last] = text
    return root


def _compile_reader(shape: Any, memo: dict[str, Reader]) -> Reader:
    kind = shape.type_name
    if kind == "structure":
        return memo[shape.name] if shape.name in memo else _structure_reader(shape, memo)
    if kind == "list":
        return _list_reader(shape, memo)
    if kind == "map":
        return _map_reader(shape, memo)
    return _text_reader(shape)


def _structure_reader(shape: Any, memo: dict[str, Reader]) -> Reader:
    members: list[tuple[str, str, Reader]] = []

    def read(node: Any) -> Any:
        if type(node) is not dict:
            return node
        return {wire_name: reader(node[key]) for key, wire_name, reader in members if key in node}

    memo[shape.name] = read
    for name, member in shape.members.items():
        wire_name = member.serialization.get("name", name)
        members.append((_form_key(member, wire_name), wire_name, _compile_reader(member, memo)))
    return read


def _form_key(member: Any, wire_name: str) -> str:
    """A flattened list goes by its items' name, if they have one."""
    if member.type_name == "list" and member.serialization.get("flattened"):
        return str(member.member.serialization.get("name", wire_name))
    return wire_name


def _list_reader(shape: Any, memo: dict[str, Reader]) -> Reader:
    read_item = _compile_reader(shape.member, memo)
    item_name = None if shape.serialization.get("flattened") else shape.member.serialization.get("name", "member")

    def read(node: Any) -> Any:
        if node == "":
            return []
        items = _numbered(node, item_name)
        return node if items is None else [read_item(item) for item in items]

    return read


def _map_reader(shape: Any, memo: dict[str, Reader]) -> Reader:
    read_key, read_value = _compile_reader(shape.key, memo), _compile_reader(shape.value, memo)
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    entry_name = None if shape.serialization.get("flattened") else "entry"

    def read(node: Any) -> Any:
        if node == "":
            return {}
        entries = _numbered(node, entry_name)
        if entries is None:
            return node
        result = {}
        for entry in entries:
            if type(entry) is not dict or type(entry.get(key_name)) is not str or value_name not in entry:
                raise errors.malformed("The form has a map entry without key or value")
            result[read_key(entry[key_name])] = read_value(entry[value_name])
        return result

    return read


def _numbered(node: Any, name: str | None) -> list[Any] | None:
    """The items of `NAME.1`, `NAME.2`, … in the order of their numbers; None if this isn't a list."""
    items = node.get(name) if name is not None and type(node) is dict else node
    if type(items) is not dict:
        return None
    if not all(key.isascii() and key.isdigit() and len(key) <= 6 for key in items):
        return None
    return [items[key] for key in sorted(items, key=int)]


def _text_reader(shape: Any) -> Reader:
    return _TEXT_READERS.get(shape.type_name, lambda text: text)


def _read_integer(text: Any) -> Any:
    return int(text) if type(text) is str and _INTEGER.fullmatch(text) else text


def _read_number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _read_boolean(text: Any) -> Any:
    return {"true": True, "false": False}.get(text, text) if type(text) is str else text


def _read_timestamp(text: Any) -> Any:
    """ISO 8601 or epoch seconds, as epoch seconds."""
    number = _read_number(text)
    if type(number) is not str:
        return number
    try:
        moment = datetime.datetime.fromisoformat(number)
    except ValueError:
        return text
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


_TEXT_READERS: dict[str, Reader] = {
    "integer": _read_integer,
    "long": _read_integer,
    "float": _read_number,
    "double": _read_number,
    "boolean": _read_boolean,
    "timestamp": _read_timestamp,
}
