"""A Luigi pipeline of Batch jobs, run by `test_luigi.py` in Luigi's own environment: count the words of a text.

Split the text into parts, count each in a job of its own, add the counts up.
"""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
import luigi
from luigi.contrib.batch import BatchTask

PARTS = 3
SPLIT = f"split -n r/{PARTS} -d -a 1 text part."
COUNT = 'wc -w < "part.$0" > "count.$0.new"; mv "count.$0.new" "count.$0"'
TOTAL = "sum=0; for file in count.?; do sum=$((sum + $(cat $file))); done; echo $sum > total"


class Step(BatchTask):
    """One job: `script`, with `part` as its `$0`, in the folder that all share."""

    folder = luigi.Parameter()
    part = luigi.IntParameter(default=0)
    poll_time = 1
    script = made = ""

    @property
    def parameters(self) -> dict[str, str]:
        return {"folder": self.folder, "script": self.script, "part": str(self.part)}

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(Path(self.folder, self.made.format(self.part))))

    def after(self, step: type[Step], part: int = 0) -> luigi.Task:
        return step(job_definition=self.job_definition, folder=self.folder, part=part)


class Split(Step):
    script, made = SPLIT, f"part.{PARTS - 1}"


class Count(Step):
    script, made = COUNT, "count.{}"

    def requires(self) -> luigi.Task:
        return self.after(Split)


class Total(Step):
    script, made = TOTAL, "total"

    def requires(self) -> list[luigi.Task]:
        return [self.after(Count, part) for part in range(PARTS)]


class Broken(Step):
    script, made = 'echo "cannot count this" >&2; exit 4', "nothing"


def main(task: str, folder: str) -> None:
    definition = boto3.client("batch").register_job_definition(
        jobDefinitionName="luigi",
        type="container",
        containerProperties={
            "image": "busybox",
            "vcpus": 1,
            "memory": 32,
            "command": [
                "sh",
                "-euc",
                'cd "$1"; exec sh -euc "$2" "$3"',
                "sh",
                "Ref::folder",
                "Ref::script",
                "Ref::part",
            ],
        },
    )
    step = globals()[task](job_definition=definition["jobDefinitionArn"], folder=folder)
    sys.exit(0 if luigi.build([step], local_scheduler=True, workers=PARTS) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
