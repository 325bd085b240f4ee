"""Every failure a user can cause, or meet, ends as one line on stderr and an exit code; never as a traceback."""

from __future__ import annotations

import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from batchyard.exceptions import BatchyardError

_ENVELOPE = re.compile(r"Error executing request, Exception : (.*), RequestId: [0-9a-f-]+", re.DOTALL)
"""What AWS Batch puts around some of its messages."""


class CliError(BatchyardError):
    """A command can't do what it was asked; the text is for the user's eyes."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ReportingGroup(TyperGroup):
    """The command group that turns the known exceptions of all commands into a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            text = explain(error)
            if text is None:
                raise
            typer.echo(f"batchyard: {text}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def explain(error: Exception) -> str | None:
    """The line to show for `error`; None for one that nobody expected (a bug, which keeps its traceback)."""
    if isinstance(error, BatchyardError):
        return " ".join(str(error).split())
    if "botocore" not in sys.modules:
        return None
    return _explain_botocore(error)


def is_unreachable(error: Exception) -> bool:
    """Whether `error` says that the server could not be reached, or went away while it was talked to."""
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError

    return isinstance(error, (NotConnected, HTTPClientError))


def _explain_botocore(error: Exception) -> str | None:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        text = _ENVELOPE.sub(r"\1", details.get("Message") or str(error))
        return " ".join(f"{text} ({details.get('Code', 'no code')})".split())
    if isinstance(error, ResponseParserError):
        return "the endpoint answered something that is not the API of AWS Batch; is it the right URL?"
    if is_unreachable(error):
        url = str(getattr(error, "kwargs", {}).get("endpoint_url") or "the endpoint").split("/v1/")[0]
        return f"no server answers at {url}. Is it running? `batchyard up` starts one."
    if isinstance(error, BotoCoreError):
        return " ".join(str(error).split())
    return None
