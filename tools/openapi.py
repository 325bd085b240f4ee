"""Prints an OpenAPI 3.1 document of the Batch API, made from botocore's service model: `python tools/openapi.py`.

It says what the server checks by the model alone: required members, types, enums, ranges, lengths, patterns. It is for
tools that test or browse HTTP APIs; clients of AWS Batch need none of it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Set as AbstractSet
from typing import Any

from batchyard import __version__
from batchyard.wire.contract import Contract, Service
from batchyard.wire.validate import LENIENT_ENUMS, LENIENT_MINIMA, compile_pattern

JSON = "application/json"
INTEGERS = {"integer": (-(2**31), 2**31 - 1, "int32"), "long": (-(2**63), 2**63 - 1, "int64")}
ERROR = {
    "type": "object",
    "properties": {"message": {"type": "string"}, "code": {"type": "string"}},
    "required": ["message", "code"],
}
_LABEL = re.compile(r"\{([^}]+)\}")

Schema = dict[str, Any]


def document(service: Service) -> Schema:
    """The whole document."""
    schemas: dict[str, Schema] = {"Error": ERROR}
    paths: dict[str, dict[str, Schema]] = {}
    for name in sorted(service.operation_names):
        method, path = service.http(name)
        paths.setdefault(path, {})[method.lower()] = _operation(service, name, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Batchyard: {service.name}", "version": f"{service.api_version}+{__version__}"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(service: Service, name: str, schemas: dict[str, Schema]) -> Schema:
    model = service.model.operation_model(name)
    content = {JSON: {"schema": _schema(model.output_shape, schemas) if model.output_shape else {"type": "object"}}}
    refusal = {
        "description": "The request can't be carried out as it stands.",
        "headers": {**_header("x-amzn-requestid"), **_header("x-amzn-errortype")},
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: Schema = {
        "operationId": name,
        "responses": {
            "200": {"description": "Done.", "headers": _header("x-amzn-requestid"), "content": content},
            "4XX": refusal,
        },
    }
    if model.input_shape is not None:
        operation.update(_input(model.input_shape, schemas))
    return operation


def _input(shape: Any, schemas: dict[str, Schema]) -> Schema:
    """The members that the model places in the path or the query string, and the body with the others."""
    placed = {name for name, member in shape.members.items() if "location" in member.serialization}
    required = set(shape.required_members)
    found: Schema = {}
    if placed:
        found["parameters"] = [
            _parameter(name, shape.members[name], name in required, schemas) for name in sorted(placed)
        ]
    if placed != set(shape.members) or not placed:
        schema = _structure(shape, schemas, without=placed) if placed else _schema(shape, schemas)
        found["requestBody"] = {"required": bool(required - placed), "content": {JSON: {"schema": schema}}}
    return found


def _header(name: str) -> Schema:
    return {name: {"required": True, "schema": {"type": "string"}}}


def _parameter(name: str, shape: Any, required: bool, schemas: dict[str, Schema]) -> Schema:
    """A member that stands in the path or in the query string."""
    where = {"uri": "path", "querystring": "query", "header": "header"}[shape.serialization["location"]]
    found = {"name": shape.serialization.get("name", name), "in": where, "schema": _schema(shape, schemas)}
    return {**found, "required": required} if required else found


def _schema(shape: Any, schemas: dict[str, Schema]) -> Schema:
    """A reference for a structure, which is put into `schemas`; all other shapes in full."""
    if shape.type_name != "structure":
        return _plain(shape, schemas)
    if shape.name not in schemas:
        # In its place before its members are read: a structure may hold itself.
        schemas[shape.name] = found = {}
        found.update(_structure(shape, schemas))
    return {"$ref": f"#/components/schemas/{shape.name}"}


def _structure(shape: Any, schemas: dict[str, Schema], without: AbstractSet[str] = frozenset()) -> Schema:
    members = {name: member for name, member in shape.members.items() if name not in without}
    required = sorted(set(shape.required_members) - without)
    properties = {member.serialization.get("name", name): _schema(member, schemas) for name, member in members.items()}
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _plain(shape: Any, schemas: dict[str, Schema]) -> Schema:
    kind = shape.type_name
    if kind == "list":
        return {"type": "array", "items": _schema(shape.member, schemas), **_bounds(shape, "minItems", "maxItems")}
    if kind == "map":
        keys = _plain(shape.key, schemas)
        names = {"propertyNames": keys} if len(keys) > 1 else {}
        values = {"additionalProperties": _schema(shape.value, schemas)}
        return {"type": "object", **values, **names, **_bounds(shape, "minProperties", "maxProperties")}
    if kind in INTEGERS:
        low, high, form = INTEGERS[kind]
        metadata = shape.metadata
        return {
            "type": "integer",
            "format": form,
            "minimum": metadata.get("min", low),
            "maximum": metadata.get("max", high),
        }
    if kind in ("float", "double", "timestamp"):
        return {"type": "number", **_bounds(shape, "minimum", "maximum")}
    return {"type": "boolean"} if kind == "boolean" else _text(shape)


def _text(shape: Any) -> Schema:
    metadata = shape.metadata
    if "enum" in metadata and shape.name not in LENIENT_ENUMS:
        return {"type": "string", "enum": list(metadata["enum"])}
    found = {"type": "string", **_bounds(shape, "minLength", "maxLength")}
    # A pattern in Java's own dialect is left out.
    pattern = compile_pattern(metadata.get("pattern"))
    if pattern is not None and pattern.pattern == metadata["pattern"]:
        found["pattern"] = f"^(?:{metadata['pattern']})$"
    return found


def _bounds(shape: Any, low: str, high: str) -> Schema:
    found = {low: shape.metadata.get("min"), high: shape.metadata.get("max")}
    if shape.name in LENIENT_MINIMA:
        found[low] = None
    return {name: bound for name, bound in found.items() if bound is not None}


def encoded() -> bytes:
    """The document of the Batch API."""
    return json.dumps(document(Contract.load(["batch"]).services["batch"]), indent=2).encode() + b"\n"


def main() -> None:
    sys.stdout.buffer.write(encoded())


if __name__ == "__main__":
    main()
