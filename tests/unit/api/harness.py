"""Operations called directly: a real database in a folder, a frozen clock, counted ids, a wake that counts."""

from __future__ import annotations

import asyncio
import atexit
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import botocore.session
import pytest
from botocore.validate import ParamValidator
from sqlalchemy import Connection

from batchyard.api.catalogue import OPERATIONS
from batchyard.api.context import Context
from batchyard.clock import CountingIds, FrozenClock
from batchyard.exceptions import ApiError
from batchyard.settings import Settings
from batchyard.store import environments, queues
from batchyard.store.database import Database
from batchyard.telemetry.logstore import LogStore
from batchyard.wire.sigv4 import Caller
from tests import databases

T = TypeVar("T")

DATABASE = "batchyard.sqlite"

INSTANCE_ROLE = "arn:aws:iam::123456789012:instance-profile/ecsInstanceRole"
SERVICE_ROLE = "arn:aws:iam::123456789012:role/AWSBatchServiceRole"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return _loop().run_until_complete(coroutine)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all tests: a loop of its own for every call takes longer than the call."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


class World:
    """One server's API without the server."""

    def __init__(self, folder: Path, database: Database, watch: databases.Watch, settings: Settings) -> None:
        self.wakes = 0
        self.clock = FrozenClock()
        self.database = database
        self._watch = watch
        self.logs_dir = folder / "logs"
        self.context = Context(
            settings=settings,
            clock=self.clock,
            ids=CountingIds(),
            database=database,
            logs=LogStore(self.logs_dir),
            engine=cast(Any, None),
            wake=self._wake,
            caller=Caller("AKIDEXAMPLE", "us-east-1", "batch"),
        )

    def _wake(self) -> None:
        self.wakes += 1

    def call(self, operation: str, /, *, service: str = "batch", **params: Any) -> dict[str, Any]:
        """The operation's result, which has the shape that the service model says."""
        result = run(OPERATIONS[(service, operation)](self.context, params))
        shape = _model(service).operation_model(operation).output_shape
        if shape is None:
            assert result == {}
        else:
            report = ParamValidator().validate(result, shape)
            assert not report.has_errors(), report.generate_report()
        return result

    def read(self, function: Callable[[Connection], T]) -> T:
        return run(self.database.read(function))

    def write(self, function: Callable[[Connection], T]) -> T:
        return run(self.database.write(function))

    def settle(self) -> None:
        """What the runtime does: take every change in, and remove what is marked for deletion."""

        def write(connection: Connection) -> None:
            for environment in environments.unsettled(connection):
                if environment.status == "DELETING":
                    environments.remove(connection, environment.name)
                environments.settle(connection, environment.name)
            for queue in queues.unsettled(connection):
                if queue.status == "DELETING":
                    queues.remove(connection, queue.name)
                queues.settle(connection, queue.name)

        self.write(write)

    def tables(self) -> dict[str, list[Any]]:
        """All rows of all tables, to see that nothing changed."""
        return run(self._watch.tables())

    def environment(self, name: str, resources: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        """A VALID environment of EC2 resources."""
        result = self.call("CreateComputeEnvironment", **ec2_environment(name, resources, **params))
        self.settle()
        return result

    def fargate_environment(self, name: str = "fargate") -> dict[str, Any]:
        resources = {"type": "FARGATE", "maxvCpus": 4, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
        result = self.call(
            "CreateComputeEnvironment", computeEnvironmentName=name, type="MANAGED", computeResources=resources
        )
        self.settle()
        return result

    def queue(self, name: str, *environment_names: str, **params: Any) -> dict[str, Any]:
        """A VALID queue on environments that exist."""
        order = [{"order": place, "computeEnvironment": each} for place, each in enumerate(environment_names)]
        params = {"jobQueueName": name, "priority": 1, "computeEnvironmentOrder": order, **params}
        result = self.call("CreateJobQueue", **params)
        self.settle()
        return result

    def described_environment(self, name: str) -> dict[str, Any]:
        return self.call("DescribeComputeEnvironments", computeEnvironments=[name])["computeEnvironments"][0]

    def described_queue(self, name: str) -> dict[str, Any]:
        return self.call("DescribeJobQueues", jobQueues=[name])["jobQueues"][0]


def refusal(world: World, operation: str, /, *, service: str = "batch", **params: Any) -> ApiError:
    """The error that a call ends in, which has to leave every table as it was and to wake nobody."""
    before, wakes = world.tables(), world.wakes
    with pytest.raises(ApiError) as caught:
        world.call(operation, service=service, **params)
    assert world.tables() == before
    assert world.wakes == wakes
    assert caught.value.http_status == 400
    return caught.value


def ec2_environment(name: str, resources: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """CreateComputeEnvironment's parameters for EC2 resources, changed by `resources`; None takes a member away."""
    given = {
        "type": "EC2",
        "minvCpus": 0,
        "maxvCpus": 16,
        "instanceTypes": ["optimal"],
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": INSTANCE_ROLE,
        **(resources or {}),
    }
    return {
        "computeEnvironmentName": name,
        "type": "MANAGED",
        "computeResources": {member: value for member, value in given.items() if value is not None},
        **params,
    }


def definition(name: str = "definition", **params: Any) -> dict[str, Any]:
    """RegisterJobDefinition's parameters; members of containerProperties go in `container`."""
    container = {"image": "busybox", "vcpus": 1, "memory": 128, "command": ["true"], **params.pop("container", {})}
    container = {member: value for member, value in container.items() if value is not None}
    return {"jobDefinitionName": name, "type": "container", "containerProperties": container, **params}


@contextmanager
def open_world(folder: Path, **settings: Any) -> Iterator[World]:
    database = databases.opened(folder / DATABASE)
    watch = databases.Watch(database, folder / DATABASE)
    try:
        yield World(folder, database, watch, Settings(data_dir=str(folder), **settings))
    finally:
        watch.close()
        database.close()


@functools.cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)
