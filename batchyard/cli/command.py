"""The command of a job submitted from a shell: run in the caller's folder, with `{index}` filled in.

Jobs start in a folder of their own and know their array index only as $AWS_BATCH_JOB_ARRAY_INDEX. So the command is
handed to one of two fixed scripts for the POSIX shell, as its arguments. No text of the user's ever becomes shell
source: quotes, spaces and `$(…)` reach the command as they were typed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

INDEX = "{index}"

IN_FOLDER = 'cd -- "$1" && shift && exec "$@"'
"""Go to the folder $1 and become the command that follows it."""

IN_FOLDER_WITH_INDEX = """\
cd -- "$1" && shift || exit
mark='{index}'
for word do
  filled=
  while :; do
    case $word in
      *"$mark"*) filled=$filled${word%%"$mark"*}$AWS_BATCH_JOB_ARRAY_INDEX; word=${word#*"$mark"} ;;
      *) break ;;
    esac
  done
  set -- "$@" "$filled$word"
  shift
done
exec "$@\""""
"""The same, after putting the array index in place of every {index} in every word of the command."""


def wrap(command: Sequence[str], *, folder: str | None, is_array: bool) -> list[str]:
    """`command` as the job has to run it. Without `folder` it stays where the engine starts it."""
    needs_index = is_array and any(INDEX in word for word in command)
    if not needs_index and folder is None:
        return list(command)
    script = IN_FOLDER_WITH_INDEX if needs_index else IN_FOLDER
    return ["/bin/sh", "-c", script, "batchyard", folder or ".", *command]


def unwrap(command: Sequence[str]) -> tuple[list[str], str | None]:
    """What the user typed, and the folder it runs in: the inverse of `wrap`."""
    if len(command) > 5 and command[1] == "-c" and command[2] in (IN_FOLDER, IN_FOLDER_WITH_INDEX):
        return list(command[5:]), None if command[4] == "." else command[4]
    return list(command), None


def shown(command: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(unwrap(command)[0])
