"""Turns results and refusals into responses, by protocol, with closures compiled from the output shapes.

A member that is None is left out: clients ask `"x" in job`. A member that the shape doesn't have is the handler's
mistake; it raises TypeError rather than going out unseen or being dropped in silence.
Timestamps are seconds since the epoch on the handlers' side; XML writes them as ISO 8601.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from batchyard.exceptions import ApiError
from batchyard.wire.errors import REQUEST_ID

Shaper = Callable[[Any], Any]
XmlWriter = Callable[[Any, list[str]], None]
Serialiser = Callable[[dict[str, Any], str], "Response"]

_encode_json = msgspec.json.Encoder().encode
# The characters that XML 1.0 can't carry, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Response(msgspec.Struct, frozen=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Dialect(msgspec.Struct, frozen=True):
    """What of a service's protocol shows in every response."""

    protocol: str
    content_type: str
    xml_namespace: str = ""


def dialect(protocol: str, json_version: str = "1.1", xml_namespace: str = "") -> Dialect:
    content_types = {"rest-json": "application/json", "json": f"application/x-amz-json-{json_version}"}
    return Dialect(protocol, content_types.get(protocol, "text/xml"), xml_namespace)


def compile_serialiser(spoken: Dialect, operation: str, shape: Any, memo: dict[str, Any]) -> Serialiser:
    """`shape` is the operation's output structure, or None; `memo` is shared by the operations of one service."""
    if spoken.protocol == "query":
        return _xml_serialiser(spoken, operation, shape, memo)
    content_type = spoken.content_type.encode()
    to_wire = compile_shaper(shape, memo) if shape is not None else None

    def serialise(result: dict[str, Any], request_id: str) -> Response:
        if to_wire is None:
            if result:
                raise TypeError(f"{operation} has no output, and its handler answered {sorted(result)}")
            return _response(200, content_type, request_id, b"{}")
        return _response(200, content_type, request_id, _encode_json(to_wire(result)))

    return serialise


def error_response(spoken: Dialect, error: ApiError, request_id: str) -> Response:
    """The refusal in the protocol's own shape, with the code also in the header that most clients read first."""
    message = error.message.replace(REQUEST_ID, request_id)
    if spoken.protocol == "query":
        fault = "Sender" if error.http_status < 500 else "Receiver"
        body = (
            f'<ErrorResponse xmlns="{spoken.xml_namespace}"><Error><Type>{fault}</Type><Code>{_text(error.code)}</Code>'
            f"<Message>{_text(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
    elif spoken.protocol == "json":
        body = _encode_json({"__type": error.code, "message": message})
    else:
        body = _encode_json({"message": message, "code": error.code})
    response = _response(error.http_status, spoken.content_type.encode(), request_id, body)
    response.headers.append((b"x-amzn-errortype", error.code.encode()))
    return response


def _response(status: int, content_type: bytes, request_id: str, body: bytes) -> Response:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    return Response(status, headers, body)


def compile_shaper(shape: Any, memo: dict[str, Any]) -> Shaper | None:
    """A function that checks a value's members and readies it for JSON; None where there is nothing to do."""
    kind = shape.type_name
    if kind == "structure":
        return memo[shape.name] if shape.name in memo else _structure_shaper(shape, memo)
    if kind == "list":
        shape_item = compile_shaper(shape.member, memo)
        return None if shape_item is None else lambda value: [shape_item(item) for item in value]
    if kind == "map":
        shape_value = compile_shaper(shape.value, memo)
        if shape_value is None:
            return None
        return lambda value: {key: shape_value(item) for key, item in value.items()}
    if kind == "blob":
        return lambda value: base64.b64encode(value).decode("ascii")
    return None


def _structure_shaper(shape: Any, memo: dict[str, Any]) -> Shaper:
    known = frozenset(shape.members)
    nested: dict[str, Shaper] = {}
    nested_names: frozenset[str] = frozenset()
    renamed: dict[str, str] = {}

    def to_wire(value: Any) -> Any:
        # Responses of Describe* hold thousands of structures: what can be asked of all members at once is, and a
        # structure is copied only to be changed.
        if not known.issuperset(value):
            raise TypeError(f"{shape.name} has no members {sorted(value.keys() - known)}")
        shaped = value
        if None in value.values():
            shaped = {name: item for name, item in value.items() if item is not None}
        for name in nested_names.intersection(shaped):
            if item := shaped[name]:
                if shaped is value:
                    shaped = dict(value)
                shaped[name] = nested[name](item)
        if renamed:
            shaped = {renamed.get(name, name): item for name, item in shaped.items()}
        return shaped

    memo[shape.name] = to_wire
    for name, member in shape.members.items():
        if "location" in member.serialization:
            raise NotImplementedError(f"{shape.name}.{name}: output members outside the body are not supported")
        wire_name = member.serialization.get("name", name)
        if wire_name != name:
            renamed[name] = wire_name
        shape_item = compile_shaper(member, memo)
        if shape_item is not None:
            nested[name] = shape_item
    nested_names = frozenset(nested)
    return to_wire


def _xml_serialiser(spoken: Dialect, operation: str, shape: Any, memo: dict[str, Any]) -> Serialiser:
    content_type = spoken.content_type.encode()
    write = _xml_structure(shape, memo) if shape is not None else None
    wrapper = shape.serialization.get("resultWrapper") if shape is not None else None

    def serialise(result: dict[str, Any], request_id: str) -> Response:
        out = [f'<{operation}Response xmlns="{spoken.xml_namespace}">']
        if write is not None:
            out.append(f"<{wrapper}>" if wrapper else "")
            write(result, out)
            out.append(f"</{wrapper}>" if wrapper else "")
        out.append(f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>")
        return _response(200, content_type, request_id, "".join(out).encode())

    return serialise


def _compile_xml(shape: Any, memo: dict[str, Any]) -> XmlWriter:
    """Writes a value's content; whoever holds the value writes the element around it."""
    kind = shape.type_name
    if kind == "structure":
        return memo[shape.name] if shape.name in memo else _xml_structure(shape, memo)
    if kind == "list":
        return _xml_list(shape, memo)
    if kind == "map":
        return _xml_map(shape, memo)
    to_text = _XML_TEXTS.get(kind, str)
    return lambda value, out: out.append(_text(to_text(value)))


def _xml_structure(shape: Any, memo: dict[str, Any]) -> XmlWriter:
    members: dict[str, tuple[str, XmlWriter]] = {}

    def write(value: Any, out: list[str]) -> None:
        for name, item in value.items():
            if name not in members:
                raise TypeError(f"{shape.name} has no member '{name}'")
            if item is not None:
                element, write_item = members[name]
                out.append(f"<{element}>")
                write_item(item, out)
                out.append(f"</{element}>")

    memo[shape.name] = write
    for name, member in shape.members.items():
        if member.serialization.get("flattened"):
            raise NotImplementedError(f"{shape.name}.{name}: flattened output is not supported")
        members[name] = (member.serialization.get("name", name), _compile_xml(member, memo))
    return write


def _xml_list(shape: Any, memo: dict[str, Any]) -> XmlWriter:
    element = shape.member.serialization.get("name", "member")
    write_item = _compile_xml(shape.member, memo)

    def write(value: Any, out: list[str]) -> None:
        for item in value:
            out.append(f"<{element}>")
            write_item(item, out)
            out.append(f"</{element}>")

    return write


def _xml_map(shape: Any, memo: dict[str, Any]) -> XmlWriter:
    key_element = shape.key.serialization.get("name", "key")
    value_element = shape.value.serialization.get("name", "value")
    write_item = _compile_xml(shape.value, memo)

    def write(value: Any, out: list[str]) -> None:
        for key, item in value.items():
            out.append(f"<entry><{key_element}>{_text(key)}</{key_element}><{value_element}>")
            write_item(item, out)
            out.append(f"</{value_element}></entry>")

    return write


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", value))


def _iso8601(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


_XML_TEXTS: dict[str, Callable[[Any], str]] = {
    "boolean": lambda value: "true" if value else "false",
    "timestamp": _iso8601,
    "blob": lambda value: base64.b64encode(value).decode("ascii"),
}
