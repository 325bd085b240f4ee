"""`batchyard why`: why a job isn't running, and what would start it."""

from __future__ import annotations

from batchyard.cli import client, output
from batchyard.cli.errors import CliError
from batchyard.cli.options import DataDirOption, EndpointOption, JobArgument, JsonOption
from batchyard.cli.refs import resolve


def why(
    job: JobArgument, endpoint: EndpointOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Say in plain words why a job isn't running, and what would start it.

    Only a Batchyard server knows; others answer this command with an error.
    """
    with client.connect(endpoint, data_dir) as api:
        job_id = resolve(api.batch, job)
        answer = api.job_view(job_id, "why")
        if answer is None:
            client.describe_one(api.batch, job_id)
            raise CliError("this server can't say why a job waits: it is not Batchyard, or an older one.")
    if as_json:
        output.print_json(answer)
        return
    output.out.print(f"{answer['jobId']} is {answer['status']}. {answer['summary']}")
    if answer.get("startsWhen"):
        output.out.print(f"It starts {_as_clause(answer['startsWhen'])}")


def _as_clause(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
