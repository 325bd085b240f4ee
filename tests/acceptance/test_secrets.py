"""A secret reaches its job, and nothing else, on every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchyard import testing
from tests.acceptance.test_docker import server as docker_server
from tests.engine.dockerd import IMAGE

VALUE = "hunter2-is-the-value"
SOURCE = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password::"


@pytest.mark.parametrize("engine", ["process", "docker"])
def test_a_secret_reaches_its_job_and_no_answer(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    file = tmp_path / "secrets.toml"
    file.touch(mode=0o600)
    file.write_text(f'"{SOURCE.removesuffix(":password::")}" = {{password = "{VALUE}"}}\n')
    settings: dict[str, Any] = {"secrets_file": str(file)}
    make = (
        testing.server(**settings)
        if engine == "process"
        else docker_server(request.getfixturevalue("dockerd"), **settings)
    )
    with make as yard:
        yard.batch.register_job_definition(
            jobDefinitionName="owed",
            type="container",
            containerProperties={
                "image": IMAGE,
                "command": ["sh", "-c", "echo ${#PASSWORD}"],
                "secrets": [{"name": "PASSWORD", "valueFrom": SOURCE}],
                "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
            },
        )
        job_id = yard.batch.submit_job(jobName="owed", jobQueue="default", jobDefinition="owed")["jobId"]
        job = yard.wait_for(job_id)
        assert job["status"] == "SUCCEEDED"
        assert yard.logs_of(job_id) == [str(len(VALUE))]
        assert job["container"]["secrets"] == [{"name": "PASSWORD", "valueFrom": SOURCE}]
        assert VALUE not in json.dumps(job, default=str) + yard.output
        stored = b"".join(path.read_bytes() for path in yard.data_dir.rglob("*") if path.is_file())
        assert VALUE.encode() not in stored
