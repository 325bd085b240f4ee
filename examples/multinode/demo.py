"""`make demo-multinode`: a server with a throwaway data folder, and the multi-node example run against it.

Results go to `demo-output/` in the current folder. Everything else is gone afterwards.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from batchyard.testing import server

RUN = Path(__file__).parent / "run.py"


def main() -> int:
    print("Starting a Batchyard server with a throwaway data folder ...", flush=True)
    # Four nodes of one vCPU each, also on a machine with fewer.
    with server(overcommit=True) as running:
        print(f"It answers at {running.endpoint_url}. One job on several nodes, then on one:\n", flush=True)
        # Ctrl-C reaches both of us; the driver ends its jobs and reports, and we wait for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        driver = subprocess.Popen([sys.executable, str(RUN), *sys.argv[1:]], env=running.environment())
        return driver.wait()


if __name__ == "__main__":
    sys.exit(main())
