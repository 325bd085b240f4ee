from __future__ import annotations

from msgspec import structs

from batchyard.wire.sigv4 import Caller
from tests.unit.api.harness import World


def test_the_caller_is_named_like_the_access_key(world: World) -> None:
    assert world.call("GetCallerIdentity", service="sts") == {
        "UserId": "AKIDEXAMPLE",
        "Account": "123456789012",
        "Arn": "arn:aws:iam::123456789012:user/AKIDEXAMPLE",
    }


def test_without_a_signature_the_caller_is_anonymous(world: World) -> None:
    world.context = structs.replace(world.context, caller=Caller(None, "us-east-1", "sts"))
    identity = world.call("GetCallerIdentity", service="sts")
    assert identity["Arn"] == "arn:aws:iam::123456789012:user/anonymous"
