"""Which operation a request asks for.

The service is the one that the signature names. Without a signature: the one of the `X-Amz-Target`, else of the path,
else of the form's `Version`. Within the service its protocol says where the operation's name stands.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from batchyard.exceptions import ApiError
from batchyard.wire import errors
from batchyard.wire.contract import Contract, Service
from batchyard.wire.parse import query_fields
from batchyard.wire.request import Request
from batchyard.wire.serialise import Dialect, dialect

_LABEL = re.compile(r"\{([^}]+)\}")


class Match(NamedTuple):
    """An operation and what routing has already read: the path's labels, the form's fields."""

    service: Service
    operation: str
    labels: dict[str, str]
    form: dict[str, str]


class PathTable:
    """The paths of one rest-json service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._fixed: dict[tuple[str, str], str] = {}
        self._labelled: list[tuple[str, re.Pattern[str], list[str], str]] = []
        for name in sorted(service.operation_names):
            method, uri = service.http(name)
            path = uri.partition("?")[0]
            if "{" in path:
                self._labelled.append((method, *compile_uri(path), name))
            else:
                self._fixed[method, path] = name

    def find(self, method: str, path: str) -> Match | None:
        name = self._fixed.get((method, path))
        if name is not None:
            return Match(self.service, name, {}, {})
        for labelled_method, pattern, labels, labelled_name in self._labelled:
            found = pattern.fullmatch(path) if labelled_method == method else None
            if found is not None:
                return Match(self.service, labelled_name, _decode(labels, found.groups()), {})
        return None


def compile_uri(uri: str) -> tuple[re.Pattern[str], list[str]]:
    """A request URI as a pattern with one group for each of its labels.

    A label at the end takes all that is left: resource ARNs hold slashes, and many clients don't encode them.
    """
    fixed = [re.escape(part) for part in _LABEL.split(uri)[::2]]
    labels = _LABEL.findall(uri)
    groups = ["(.+)" if label.endswith("+") else "([^/]+)" for label in labels]
    if uri.endswith("}"):
        groups[-1] = "(.+)"
    pattern = fixed[0] + "".join(group + part for group, part in zip(groups, fixed[1:], strict=True))
    return re.compile(pattern, re.DOTALL), [label.rstrip("+") for label in labels]


def _decode(labels: list[str], texts: tuple[str, ...]) -> dict[str, str]:
    try:
        return {label: unquote(text, errors="strict") for label, text in zip(labels, texts, strict=True)}
    except UnicodeDecodeError as error:
        raise errors.malformed("The request path is not valid UTF-8") from error


class Router:
    """Finds a request's operation among those of a contract."""

    def __init__(self, contract: Contract) -> None:
        services = contract.services.values()
        self._by_signing_name = {service.signing_name: service for service in services}
        self._by_target = {service.target_prefix: service for service in services if service.protocol == "json"}
        self._by_version = {service.api_version: service for service in services if service.protocol == "query"}
        self._paths = {service.name: PathTable(service) for service in services if service.protocol == "rest-json"}

    def match(self, request: Request, signed_service: str | None) -> Match:
        """Raises ApiError if no served operation fits."""
        if signed_service is not None:
            service = self._by_signing_name.get(signed_service)
            if service is None:
                raise errors.unknown_operation(f"The service '{signed_service[:64]}' is not served here")
            found = self._in_service(service, request)
        else:
            found = self._unsigned(request)
        if found is None:
            raise errors.unknown_operation(f"No operation answers to {request.method[:16]} {request.path[:256]}")
        return found

    def dialect_of(self, request: Request, signed_service: str | None) -> Dialect:
        """How to word a refusal to a request whose operation isn't known."""
        service = self._by_signing_name.get(signed_service or "")
        if service is not None:
            return service.dialect
        if b"x-amz-target" in request.headers:
            return dialect("json")
        if request.path == "/" and _is_form(request):
            return dialect("query")
        return dialect("rest-json")

    def _in_service(self, service: Service, request: Request) -> Match | None:
        if service.protocol == "rest-json":
            return self._paths[service.name].find(request.method, request.path)
        if service.protocol == "json":
            return _by_target(service, request)
        return _by_action(service, _form(request))

    def _unsigned(self, request: Request) -> Match | None:
        target = request.header(b"x-amz-target")
        if target:
            service = self._by_target.get(target.rpartition(".")[0])
            return _by_target(service, request) if service is not None else None
        for paths in self._paths.values():
            found = paths.find(request.method, request.path)
            if found is not None:
                return found
        if request.path != "/" or not _is_form(request):
            return None
        form = _form(request)
        service = self._by_version.get(form.get("Version", ""))
        return _by_action(service, form) if service is not None else None


def _by_target(service: Service, request: Request) -> Match | None:
    prefix, _, name = request.header(b"x-amz-target").rpartition(".")
    if request.method != "POST" or prefix != service.target_prefix:
        return None
    return _named(service, name, {})


def _by_action(service: Service, form: dict[str, str]) -> Match | None:
    return _named(service, form.get("Action", ""), form)


def _named(service: Service, name: str, form: dict[str, str]) -> Match:
    if name not in service.operation_names:
        raise _unknown_name(service, name)
    return Match(service, name, {}, form)


def _unknown_name(service: Service, name: str) -> ApiError:
    return errors.unknown_operation(f"The service '{service.name}' has no operation '{name[:128]}'")


def _is_form(request: Request) -> bool:
    """A query-protocol request: a posted form, or all of it in the query string, as presigned URLs are."""
    return request.header(b"content-type").startswith("application/x-www-form-urlencoded") or "Action=" in request.query


def _form(request: Request) -> dict[str, str]:
    if request.method not in ("GET", "POST"):
        return {}
    try:
        body = request.body.decode()
    except UnicodeDecodeError as error:
        raise errors.malformed("The form is not valid UTF-8") from error
    return dict(query_fields("&".join(part for part in (request.query, body) if part)))
