"""`batchyard submit`: a command becomes a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from batchyard.cli import client, output
from batchyard.cli.follow import exit_code_of, wait_for
from batchyard.cli.options import DataDirOption, EndpointOption, JsonOption
from batchyard.cli.refs import resolve
from batchyard.cli.request import (
    DEFAULT_MEMORY_MIB,
    DEFAULT_VCPUS,
    SubmitOptions,
    check,
    definition_for,
    parse_dependency,
    submit_parameters,
)

CommandArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="COMMAND",
        help="The command and its arguments; options of `submit` stand before it. In an array, {index} becomes "
        "the child's index.",
    ),
]
QueueOption = Annotated[str, typer.Option("--queue", "-q", metavar="QUEUE", help="The job queue.")]
NameOption = Annotated[str | None, typer.Option(metavar="NAME", help="The job's name. [default: the program's name]")]
DefinitionOption = Annotated[
    str | None,
    typer.Option(
        "--definition", "-d", metavar="NAME[:REV]", help="Submit with this definition; a COMMAND replaces its own."
    ),
]
ImageOption = Annotated[
    str | None, typer.Option(metavar="IMAGE", help="Container image; the process engine does without.")
]
VcpusOption = Annotated[
    float | None, typer.Option(metavar="N", help=f"vCPUs. [default: {DEFAULT_VCPUS:g}, or the definition's]")
]
MemoryOption = Annotated[
    int | None, typer.Option(metavar="MIB", help=f"MiB. [default: {DEFAULT_MEMORY_MIB}, or the definition's]")
]
GpusOption = Annotated[int | None, typer.Option(metavar="N", min=0, help="GPUs.")]
ArrayOption = Annotated[int | None, typer.Option(metavar="N", min=2, help="Run it N times, as an array job.")]
AttemptsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=10, help="Try up to N times until it succeeds.")
]
TimeoutOption = Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="Kill an attempt that runs longer.")]
DependsOnOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="JOB[:N_TO_N]",
        help="Wait for this job; with :N_TO_N each child waits for the other array's child of its index. "
        "SEQUENTIAL runs this array's children one after the other. Repeatable.",
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="Environment variable; NAME alone copies yours."),
]
ParameterOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Replaces Ref::NAME in the command. Repeatable.")
]
TagOption = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Tag of the job. Repeatable.")]
CwdOption = Annotated[
    bool | None,
    typer.Option(
        "--cwd/--no-cwd",
        help="Run COMMAND in the current folder, or in a fresh one of its own. "
        "[default: --cwd, but --no-cwd with --image or --definition]",
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit as it did.")]
FollowOption = Annotated[
    bool, typer.Option("--follow", "--logs", "-f", help="Wait, and print the job's log meanwhile.")
]


def submit(
    command: CommandArgument = None,
    queue: QueueOption = "default",
    name: NameOption = None,
    definition: DefinitionOption = None,
    image: ImageOption = None,
    vcpus: VcpusOption = None,
    memory: MemoryOption = None,
    gpus: GpusOption = None,
    array: ArrayOption = None,
    attempts: AttemptsOption = None,
    timeout: TimeoutOption = None,
    depends_on: DependsOnOption = None,
    env: EnvOption = None,
    parameter: ParameterOption = None,
    tag: TagOption = None,
    cwd: CwdOption = None,
    wait: WaitOption = False,
    follow: FollowOption = False,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a command as a job, or as an array of jobs.

    `batchyard submit --array 100 --wait -- ./work.sh {index}` registers a job definition behind the scenes, submits,
    and shows the progress. The command is run as it is, without a shell; for one, submit `sh -c '...'`. It gets no
    environment variables but those of --env and the AWS_BATCH_ ones.

    With --wait the exit code is 0 when the job succeeded, else the job's own (1 when it has none). Ctrl-C ends the
    waiting, not the job.
    """
    in_current_folder = cwd if cwd is not None else image is None and definition is None
    options = SubmitOptions(
        command=tuple(command or ()),
        queue=queue,
        name=name,
        definition=definition,
        image=image,
        vcpus=vcpus,
        memory_mib=memory,
        gpus=gpus,
        array_size=array,
        attempts=attempts,
        timeout_seconds=timeout,
        depends_on=tuple(depends_on or ()),
        environment=tuple(env or ()),
        parameters=tuple(parameter or ()),
        tags=tuple(tag or ()),
        folder=str(Path.cwd()) if in_current_folder else None,
    )
    check(options)
    with client.connect(endpoint, data_dir) as api:
        answer = send(api.batch, options)
        if not (wait or follow):
            report(answer, as_json)
            return
        ended = wait_for(api, answer["jobId"], follow_logs=follow, as_json=as_json)
    raise typer.Exit(exit_code_of(ended))


def send(batch: Any, options: SubmitOptions) -> dict[str, Any]:
    """Register what has to be registered, and submit. The answer of SubmitJob."""
    depends_on = [_dependency(batch, text) for text in options.depends_on]
    # All of it is built before anything is registered: a wrong option leaves nothing behind.
    submit_parameters(options, "", depends_on)
    definition = definition_for(batch, options)
    answer: dict[str, Any] = batch.submit_job(**submit_parameters(options, definition, depends_on))
    return answer


def report(answer: dict[str, Any], as_json: bool) -> None:
    """The job's id: alone on stdout in a pipe, so that a script can take it from there."""
    if as_json:
        output.print_json(answer)
    elif output.out.is_terminal:
        output.out.print(f"Submitted {answer['jobName']}: {answer['jobId']}")
        short = answer["jobId"][:8]
        output.out.print(f"batchyard logs -f {short}  or  batchyard describe {short}", style="dim")
    else:
        print(answer["jobId"], flush=True)


def _dependency(batch: Any, text: str) -> dict[str, str]:
    job, kind = parse_dependency(text)
    named = {"jobId": resolve(batch, job)} if job else {}
    return named | ({"type": kind} if kind else {})
