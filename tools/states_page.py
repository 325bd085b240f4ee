"""docs/states.md: the transition table of `core/states.py`, as a diagram and as a table."""

from __future__ import annotations

from batchyard.core.states import TRANSITIONS, JobStatus
from tools.markdown import code, page, table

HEAD = """\
# The states of a job

These are all the moves that a job, or a child of an array, can make; any other raises an error and changes nothing.
An array parent has no attempts of its own: it goes from SUBMITTED to PENDING to SUCCEEDED or FAILED, while its children
take the whole way."""


def render() -> str:
    edges = [f"    {source.name} --> {target.name}" for source, target in TRANSITIONS]
    ends = [f"    {status.name} --> [*]" for status in JobStatus if status.is_terminal]
    diagram = ["```mermaid", "stateDiagram-v2", f"    [*] --> {JobStatus(0).name}", *edges, *ends, "```"]
    rows = [(code(source.name), code(target.name), why) for (source, target), why in TRANSITIONS.items()]
    return page(HEAD, "\n".join(diagram), table(("From", "To", "When"), rows))
