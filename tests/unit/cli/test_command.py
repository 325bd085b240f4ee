from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from batchyard.cli.command import IN_FOLDER, shown, unwrap, wrap

SHELLS = [path for path in map(shutil.which, ("sh", "dash", "bash", "busybox", "zsh")) if path]


def run(command: list[str], shell: str = "/bin/sh", index: str = "7") -> tuple[int, list[str]]:
    """Run a wrapped command by the shell given; the exit code, and the arguments that `printf` got."""
    interpreter = [shell, "sh"] if shell.endswith("busybox") else [shell]
    done = subprocess.run(
        [*interpreter, *command[1:]],
        env={"PATH": "/usr/bin:/bin", "AWS_BATCH_JOB_ARRAY_INDEX": index},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split("\0")[:-1]


NASTY = [
    "",
    " ",
    "two words",
    "$(touch x)",
    "`id`",
    "'",
    '"',
    "\\",
    "*",
    "a\nb",
    "-n",
    "--",
    "{index",
    "index}",
    "$1",
    "é",
]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_argument_reaches_the_command_as_it_was_typed(shell: str, tmp_path: Path) -> None:
    command = wrap(["printf", r"%s\0", *NASTY], folder=str(tmp_path), is_array=False)
    assert run(command, shell) == (0, NASTY)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_index_is_filled_in_everywhere_and_nothing_else_is_touched(shell: str, tmp_path: Path) -> None:
    words = ["{index}", "a{index}b{index}", "{{index}}", "{index}{index}", *NASTY, "*{index}*", "$(echo {index})"]
    command = wrap(["printf", r"%s\0", *words], folder=str(tmp_path), is_array=True)
    assert run(command, shell, index="42") == (0, [word.replace("{index}", "42") for word in words])


@pytest.mark.parametrize("is_array", [False, True])
def test_it_runs_in_the_folder_whatever_its_name(tmp_path: Path, is_array: bool) -> None:
    folder = tmp_path / "-odd $(name) {index} 'quoted'"
    folder.mkdir()
    script = folder / "work {index}.sh" if is_array else folder / "work.sh"
    (folder / script.name.replace("{index}", "7")).write_text('#!/bin/sh\nprintf "%s\\0" "$PWD" "$@"\n')
    (folder / script.name.replace("{index}", "7")).chmod(0o755)
    command = wrap([f"./{script.name}", "x"], folder=str(folder), is_array=is_array)
    assert run(command) == (0, [str(folder), "x"])


def test_a_missing_folder_or_program_fails_the_job(tmp_path: Path) -> None:
    for is_array in (False, True):
        assert run(wrap(["true", "{index}"], folder=str(tmp_path / "gone"), is_array=is_array))[0] in (1, 2)
        assert run(wrap(["no-such-program", "{index}"], folder=str(tmp_path), is_array=is_array))[0] == 127


def test_the_exit_code_is_the_commands() -> None:
    assert run(wrap(["sh", "-c", "exit 23", "{index}"], folder=None, is_array=True))[0] == 23


def test_nothing_is_wrapped_without_need() -> None:
    assert wrap(["echo", "{index}"], folder=None, is_array=False) == ["echo", "{index}"]
    assert wrap(["echo", "hello"], folder=None, is_array=True) == ["echo", "hello"]
    assert wrap(["echo", "{index}"], folder="/tmp", is_array=False)[2] == IN_FOLDER


@pytest.mark.parametrize("folder", [None, "/some/where"])
@pytest.mark.parametrize("is_array", [False, True])
def test_unwrapping_gives_back_what_was_typed(folder: str | None, is_array: bool) -> None:
    typed = ["./work.sh", "{index}", "a b"]
    command = wrap(typed, folder=folder, is_array=is_array)
    assert unwrap(command) == (typed, folder)
    assert shown(command) == "./work.sh '{index}' 'a b'"


def test_a_users_own_shell_command_is_shown_as_it_is() -> None:
    assert unwrap(["/bin/sh", "-c", "exit 1"]) == (["/bin/sh", "-c", "exit 1"], None)
