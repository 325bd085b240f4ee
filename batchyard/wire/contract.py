"""The API as the installed botocore describes it: the single source of operations, shapes and protocols.

A service is added by adding its name to `SERVICES`. Loading reads the model files (tens of milliseconds); an
operation's shapes are compiled to closures when it is first called, once, because most clients use few of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from botocore.loaders import Loader
from botocore.model import ServiceModel

from batchyard.wire.parse import Parser, compile_parser
from batchyard.wire.serialise import Dialect, Serialiser, compile_serialiser, dialect
from batchyard.wire.validate import Check, Validator, compile_validator

SERVICES = ("batch", "logs", "sts")

PROTOCOLS = ("rest-json", "json", "query")

# How each service says that a parameter is wrong; those not named say ValidationException.
VALIDATION_CODES = {
    "batch": "ClientException",
    "ecs": "InvalidParameterException",
    "iam": "ValidationError",
    "logs": "InvalidParameterException",
    "sts": "ValidationError",
}


class Operation(msgspec.Struct, frozen=True):
    """One operation, ready to serve: a request goes through `parse`, `validate`, the handler and `serialise`."""

    service: str
    name: str
    protocol: str
    method: str
    # The model's request URI, `/v1/tags/{resourceArn}`; `/` for the protocols that don't use paths.
    path: str
    parse: Parser
    validate: Validator
    serialise: Serialiser


class Service:
    """One service's operations and what tells its requests from those of others."""

    def __init__(self, name: str, model: Any) -> None:
        metadata = model.metadata
        self.name = name
        self.model = model
        self.protocol = _protocol(metadata)
        self.signing_name: str = model.signing_name
        self.api_version: str = metadata["apiVersion"]
        self.target_prefix: str = metadata.get("targetPrefix", "")
        self.dialect: Dialect = dialect(
            self.protocol, metadata.get("jsonVersion", "1.1"), metadata.get("xmlNamespace", "")
        )
        self.operation_names: frozenset[str] = frozenset(model.operation_names)
        self._compiled: dict[str, Operation] = {}
        self._checks: dict[str, Check] = {}
        self._shapers: dict[str, Any] = {}

    def operation(self, name: str) -> Operation:
        """The compiled operation; `name` is one of `operation_names`."""
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = self._compile(name)
        return compiled

    def http(self, name: str) -> tuple[str, str]:
        """The operation's method and request URI."""
        http = self.model.operation_model(name).http
        return http.get("method", "POST"), http.get("requestUri", "/")

    def _compile(self, name: str) -> Operation:
        model = self.model.operation_model(name)
        method, path = self.http(name)
        return Operation(
            service=self.name,
            name=name,
            protocol=self.protocol,
            method=method,
            path=path,
            parse=compile_parser(self.protocol, model.input_shape),
            validate=compile_validator(
                model.input_shape, VALIDATION_CODES.get(self.name, "ValidationException"), self._checks
            ),
            serialise=compile_serialiser(self.dialect, name, model.output_shape, self._shapers),
        )


class Contract:
    """The services that this server speaks."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = {service.name: service for service in services}

    @classmethod
    def load(cls, names: Iterable[str] = SERVICES) -> Contract:
        # Only botocore's own data: a model in the user's ~/.aws/models must not change the API that is served.
        loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        return cls(
            Service(name, ServiceModel(loader.load_service_model(name, "service-2"), service_name=name))
            for name in names
        )

    def operations(self) -> list[tuple[str, str]]:
        """Every (service, operation) of the loaded models."""
        return [(service.name, name) for service in self.services.values() for name in sorted(service.operation_names)]


def _protocol(metadata: Any) -> str:
    """The first protocol that both the model and this server speak."""
    offered = [*metadata.get("protocols", []), metadata["protocol"]]
    for protocol in offered:
        if protocol in PROTOCOLS:
            return str(protocol)
    raise ValueError(f"{metadata['serviceId']} speaks {offered}, and this server only {list(PROTOCOLS)}")
