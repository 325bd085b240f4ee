"""JSON documents in columns, and the tags that every kind of resource has."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Table, and_, select, update

Document = dict[str, Any]
Tags = dict[str, str]

encode = msgspec.json.Encoder().encode
_document = msgspec.json.Decoder(Document)
_tags = msgspec.json.Decoder(Tags)


def decode_document(data: bytes) -> Document:
    return _document.decode(data)


def decode_tags(data: bytes) -> Tags:
    return _tags.decode(data)


def find_tags(connection: Connection, table: Table, key: dict[str, Any]) -> Tags | None:
    """The tags of the row of `table` whose columns have the values in `key`; None when there is no such row."""
    found = connection.execute(select(table.c.tags).where(_matches(table, key))).scalar()
    return None if found is None else decode_tags(found)


def set_tags(connection: Connection, table: Table, key: dict[str, Any], tags: Tags) -> None:
    connection.execute(update(table).where(_matches(table, key)).values(tags=encode(tags)))


def _matches(table: Table, key: dict[str, Any]) -> Any:
    return and_(*(table.c[column] == value for column, value in key.items()))
