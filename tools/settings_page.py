"""docs/settings.md: the fields of `settings.Settings`, with their defaults and docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap

from msgspec import Struct

from batchyard.cli import up
from batchyard.settings import ENVIRONMENT_PREFIX, Settings
from tools.markdown import code, page, table

HEAD = """\
# Settings

`batchyard up` takes its settings from three places. Later ones win:

1. a TOML file, named by `--config`, whose keys are the names below;
2. environment variables, `BATCHYARD_` and the name in capitals; lists are separated by commas, and so are the
   `KEY=VALUE` of tables;
3. options on the command line, where there is one.

An unknown name or a value out of range ends the start with a line that says so."""

FOOT = """\
The region falls back on `AWS_REGION` and `AWS_DEFAULT_REGION`. The data folder's default is
`~/.local/share/batchyard` where `XDG_DATA_HOME` is not set."""


class Field(Struct, frozen=True):
    """One setting, as the source of the class has it."""

    name: str
    type: str
    default: str
    description: str


def fields() -> list[Field]:
    """The settings in the order of their declaration. Raises ValueError for one without a docstring."""
    declaration = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body[0]
    assert isinstance(declaration, ast.ClassDef)
    found = []
    for statement, after in zip(declaration.body, declaration.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if not described or statement.value is None:
            raise ValueError(f"the setting {name} has no docstring or no default")
        assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        text = " ".join(str(after.value.value).split())
        found.append(Field(name, ast.unparse(statement.annotation), ast.unparse(statement.value), text))
    return found


def render() -> str:
    options = inspect.signature(up.up).parameters
    rows = []
    for field in fields():
        option = f"--{field.name.replace('_', '-')}" if field.name in options else ""
        rows.append(
            (
                code(field.name),
                code(_type(field.type)),
                code(_toml(field.default)),
                code(ENVIRONMENT_PREFIX + field.name.upper()),
                code(option) if option else "",
                field.description,
            )
        )
    return page(HEAD, table(("Setting", "Type", "Default", "Environment", "Option", "Meaning"), rows), FOOT)


def _type(annotation: str) -> str:
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").removesuffix("]").replace("'", "").replace(", ", " | ")
    names = {"str": "text", "bool": "true | false", "int": "integer", "float": "number", "str | int": "text or integer"}
    names["dict[str, str]"] = "table of texts"
    return names.get(annotation, "list of texts")


def _toml(default: str) -> str:
    value = ast.literal_eval(default)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f'"{value}"' if isinstance(value, str) else str(value)
