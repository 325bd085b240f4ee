"""Values made from model shapes: every member filled in, or a random part of them, within the model's bounds."""

from __future__ import annotations

import random
from typing import Any

from batchyard.wire.validate import compile_pattern

# One of these matches each pattern in the models of the services that Batchyard speaks.
_TEXTS = [
    "Sample-text_1",
    "123456789012",
    "a" * 64,
    "12",
    "vpce-0123456789abcdef0",
    "arn:aws:iam::123456789012:role/sample",
    "arn:aws:kms:eu-central-1:123456789012:key/0123",
    "arn:aws:s3:::sample",
    "s3://sample-bucket/key",
    "https://sample.example.com",
    "1.0",
    "rate(5 minutes)",
    "/sample/",
    "arn:aws:events:eu-central-1:123456789012:event-bus/sample",
    "arn:aws:events:eu-central-1:123456789012:connection/sample/0123",
    "arn:aws:events:eu-central-1:123456789012:endpoint/sample",
    "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sample",
    "arn:aws:cloudtrail:eu-central-1:123456789012:trail/sample",
    "arn:aws:route53:::healthcheck/sample",
    "us-east-1a",
    "aws.partner/sample/one",
    "Sample text & <more>, é",
    "123456",
    "v1",
    "12:30",
    "events:PutEvents",
    "sample.amazonaws.com",
    "ABCDEFGHIJKLMNOPQRSTUVWX",
    "p-0123456789",
    "o-0123456789/r-0123/ou-0123-01234567",
    "arn:aws:vpc-lattice:eu-central-1:123456789012:resourceconfiguration/rcfg-0123456789abcdefg",
]


class Sampler:
    """`share` is the part of a structure's optional members to fill in."""

    def __init__(self, seed: int = 0, share: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._share = share

    def sample(self, shape: Any, within: frozenset[str] = frozenset()) -> Any:
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape, within | {shape.name})
        if kind == "list":
            return [self.sample(shape.member, within) for _ in range(self._length(shape))]
        if kind == "map":
            keys = self._keys(shape.key, self._length(shape))
            return {key: self.sample(shape.value, within) for key in keys}
        return self._scalar(shape)

    def _structure(self, shape: Any, within: frozenset[str]) -> dict[str, Any]:
        # A structure inside itself would never end.
        possible = {name: member for name, member in shape.members.items() if not _names(member) & within}
        if shape.metadata.get("union"):
            chosen = [self._random.choice(list(possible))]
        else:
            chosen = [
                name for name in possible if name in shape.required_members or self._random.random() < self._share
            ]
        # Forms can't carry an empty structure; the parameters as a whole may be empty.
        if not chosen and len(within) > 1:
            chosen = list(possible)[:1]
        return {name: self.sample(possible[name], within) for name in chosen}

    def _scalar(self, shape: Any) -> Any:
        kind = shape.type_name
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "blob":
            return b"\x00\xffblob"
        if kind == "timestamp":
            return 1_700_000_000 + self._random.randrange(1000)
        if kind in ("integer", "long"):
            return self._integer(shape)
        if kind in ("float", "double"):
            return max(shape.metadata.get("min", 0), 0.25)
        return self._string(shape)

    def _integer(self, shape: Any) -> int:
        highest = 2**31 - 1 if shape.type_name == "integer" else 2**53
        lowest = shape.metadata.get("min", -5)
        return self._random.choice([lowest, min(shape.metadata.get("max", highest), highest)])

    def _string(self, shape: Any) -> str:
        if "enum" in shape.metadata:
            return str(self._random.choice(shape.metadata["enum"]))
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 10**6)
        pattern = compile_pattern(shape.metadata.get("pattern"))
        texts = [text for text in _TEXTS if low <= len(text) <= high and (not pattern or pattern.fullmatch(text))]
        if not texts:
            texts = [("a" * max(low, 1))[:high]]
        return self._random.choice(texts)

    def _length(self, shape: Any) -> int:
        return int(min(max(shape.metadata.get("min", 0), 2), shape.metadata.get("max", 2)))

    def _keys(self, shape: Any, count: int) -> list[str]:
        if "enum" in shape.metadata:
            return list(shape.metadata["enum"][:count])
        base = self._string(shape)
        return [base, *(base[:-1] + str(number) for number in range(1, count))][:count]


def _names(shape: Any) -> frozenset[str]:
    """The structures that a value of this shape surely holds."""
    if shape.type_name == "list":
        return _names(shape.member)
    if shape.type_name == "map":
        return _names(shape.value)
    return frozenset({shape.name}) if shape.type_name == "structure" else frozenset()
