"""Filter patterns of FilterLogEvents, as far as they are made of terms (CloudWatch Logs, "Filter pattern syntax").

`ERROR timeout` matches events that contain both; `"exit code"` is a phrase; `-DEBUG` must not be there; of the terms
with a question mark, `?ERROR ?WARN`, one at least must be. Case counts. Patterns for JSON (`{…}`), for columns
(`[…]`) and regular expressions (`%…%`) are refused.
"""

from __future__ import annotations

import re

from msgspec import Struct

from batchyard.wire import errors

_TERM = re.compile(r'\s*(?P<sign>[-?]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))(?=\s|$)', re.DOTALL)


class Pattern(Struct, frozen=True):
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()

    def matches(self, message: str) -> bool:
        return (
            all(term in message for term in self.required)
            and not any(term in message for term in self.excluded)
            and (not self.any_of or any(term in message for term in self.any_of))
        )


def parse(text: str) -> Pattern:
    """The pattern that `text` spells; the empty one matches everything."""
    text = text.strip()
    if text.startswith(("{", "[")):
        raise errors.invalid_parameter("filterPattern: JSON and column patterns are not built in Batchyard yet")
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise errors.invalid_parameter("Invalid filter pattern")
        word, phrase = match["word"], match["phrase"]
        if word is not None and len(word) > 1 and word.startswith("%") and word.endswith("%"):
            raise errors.invalid_parameter("filterPattern: regular expressions are not built in Batchyard yet")
        terms[match["sign"]].append(re.sub(r"\\(.)", r"\1", phrase, flags=re.DOTALL) if word is None else word)
        position = match.end()
    return Pattern(tuple(terms[""]), tuple(terms["-"]), tuple(terms["?"]))
