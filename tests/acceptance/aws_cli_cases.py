"""The real AWS CLI, in processes of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from batchyard.testing import Server
from tests.acceptance.job_cases import DEADLINE_SECONDS


class AwsCli:
    """`aws …` in a process of its own, pointed at the server by environment variables alone."""

    def __init__(self, yard: Server, folder: Path) -> None:
        local = Path(sys.executable).parent / "aws"
        self._program = str(local) if local.exists() else str(shutil.which("aws"))
        # Nothing of the tests' own environment: what is set there must not be needed.
        self._environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), **yard.environment()}
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def __call__(self, *arguments: str) -> Any:
        """The command's JSON output; AssertionError with what it said if it failed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def file(self, name: str, content: dict[str, Any]) -> str:
        """A JSON file for --cli-input-json."""
        (self.folder / name).write_text(json.dumps(content, indent=4))
        return f"file://{name}"
