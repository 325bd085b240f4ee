"""Where an event of several lines begins: the multiline options of the `awslogs` driver as one regular expression.

`awslogs-datetime-format` is a regular expression with strftime codes in it, and goes before
`awslogs-multiline-pattern` (user guide, "Using the awslogs Log Driver"). The syntax is RE2's, as in Docker, and so is
the engine: its time grows with the text and the pattern, whatever somebody has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

DATETIME_FORMAT = "awslogs-datetime-format"
MULTILINE_PATTERN = "awslogs-multiline-pattern"
SEARCHED_CHARACTERS = 16 * 1024
"""Of a line. Docker looks at no more at a time."""
MAX_PROGRAM_SIZE = 2000
"""Of a compiled pattern, in RE2's instructions; those that people write have a hundred or so."""
MAX_MEMORY_BYTES = 1024 * 1024

_CODE = re.compile("%(.)", re.DOTALL)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _one_of(*names: str) -> str:
    return f"(?:{'|'.join(names)})"


_CODES = {
    "a": _one_of(*(day[:3] for day in _DAYS)),
    "A": _one_of(*_DAYS),
    "w": "[0-6]",
    "d": "(?:0[1-9]|[12][0-9]|3[01])",
    "b": _one_of(*(month[:3] for month in _MONTHS)),
    "B": _one_of(*_MONTHS),
    "m": "(?:0[1-9]|1[0-2])",
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "H": "(?:[01][0-9]|2[0-3])",
    "I": "(?:0[0-9]|1[0-2])",
    "p": "[AP]M",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "L": r"\.[0-9]{3}",
    "f": "[0-9]{6}",
    "z": "[+-][0-9]{4}",
    "Z": "[A-Z]{2,5}",
    "j": "(?:[0-2][0-9]{2}|3[0-5][0-9]|36[0-6])",
}
"""The codes that Docker's driver documents. Others stand for nothing, as there."""


def pattern_of(options: Mapping[str, str]) -> str | None:
    """The pattern in a log configuration's options; None where every line is an event."""
    datetime_format = options.get(DATETIME_FORMAT)
    if datetime_format:
        return _CODE.sub(lambda code: _CODES.get(code[1], ""), datetime_format)
    return options.get(MULTILINE_PATTERN) or None


def option_of(options: Mapping[str, str]) -> str:
    """The option that the pattern comes from."""
    return DATETIME_FORMAT if options.get(DATETIME_FORMAT) else MULTILINE_PATTERN


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a line begins an event. ValueError with RE2's words for what is no pattern."""
    # Few servers have any use for it.
    import re2

    options = re2.Options()
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        program = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(_words(error)) from error
    if program.programsize > MAX_PROGRAM_SIZE:
        raise ValueError("it is too large")
    return lambda line: program.search(line[:SEARCHED_CHARACTERS]) is not None


def _words(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
