"""Every exception that Batchyard raises on purpose.

AWS error codes do not live here: `wire/errors.py` gives each `ApiError` its code, status and envelope.
"""

from __future__ import annotations


class BatchyardError(Exception):
    """Base of all errors that Batchyard raises on purpose."""


class SettingsError(BatchyardError):
    """A setting is missing, unknown or out of range; the text names it and says what is allowed."""


class DataFolderError(BatchyardError):
    """The data folder can't be used: another server holds it, or it isn't writable."""


class IllegalTransition(BatchyardError):
    """A job was asked to move along an edge that `core/states.py` does not have. Nothing was changed."""


class InvariantBroken(BatchyardError):
    """The scheduler's state contradicts itself; the text names the invariant and the job."""


class StoreError(BatchyardError):
    """The database could not take a write or answer a read (disk full, file gone). Nothing was acknowledged."""


class EngineError(BatchyardError):
    """An engine could not be started or reached."""


class DaemonGoneError(EngineError):
    """The container daemon did not answer: it is down, or the connection broke. Whether it did as asked is unknown."""


class DaemonRefusedError(EngineError):
    """The container daemon answered that it will not; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class CommandLeftError(EngineError):
    """A command that somebody runs beside a job goes on without him; `exit_code` says which signal ended his part."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CannotLaunchError(BatchyardError):
    """An attempt's container can't be made or started; the text is the container's reason."""


class ImageGoneError(CannotLaunchError):
    """The container's image, which was there a moment ago, is not there any more."""


class SecretError(BatchyardError):
    """A secret can't be had; the text says which and why, and holds no value."""


class RoleError(BatchyardError):
    """A job's role can't be assumed; the text says which and why, and holds no credentials."""


class ApiError(BatchyardError):
    """A request is refused: `code` is the AWS error code and `message` the text the client sees."""

    def __init__(self, code: str, message: str, http_status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
