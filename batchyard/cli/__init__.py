"""The command line: `batchyard up` runs the server, every other command is a client of its AWS API.

There is no private back door: what the CLI shows is what DescribeJobs, ListJobs and GetLogEvents answer. Each command
is a module; heavy parts (the server, botocore) are imported by the commands that need them, when they run.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script `batchyard`."""
    try:
        from batchyard.cli.app import app

        app(prog_name="batchyard")
    except KeyboardInterrupt:
        # While the command was being loaded, or at its very end: its group sees to what comes while it runs.
        sys.exit(130)
