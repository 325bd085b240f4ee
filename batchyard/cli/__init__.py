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
    except KeyboardInterrupt:  # while the command was being loaded: nothing has begun
        sys.exit(130)
