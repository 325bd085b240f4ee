"""`make demo`: a server with a throwaway data folder, and the Monte Carlo example run against it through the API.

`make demo ENGINE=docker` runs the jobs in containers, of an image that it builds first from the Dockerfile beside this;
`BASE=IMAGE` names another base image than the Dockerfile's, IMAGE=NAME one that is built already. Results go to
`demo-output/` in the current folder. Everything else is gone afterwards, but the image.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from batchyard.testing import server

HERE = Path(__file__).parent
RUN = HERE / "run.py"
IMAGE = "batchyard-montecarlo"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("process", "docker"), default="process", help="what runs the jobs")
    parser.add_argument(
        "--base", metavar="IMAGE", help="what the image is built from (default: as the Dockerfile says)"
    )
    parser.add_argument("--image", help="do not build an image, but take this one")
    chosen, others = parser.parse_known_args()
    settings: dict[str, str] = {}
    if chosen.engine == "docker":
        if not any("://" in each for each in others):
            # A folder is all that the jobs share.
            settings["docker_network"] = "none"
        image = chosen.image or build(chosen.base)
        if image is None:
            return 1
        others += ["--image", image]
    print("Starting a Batchyard server with a throwaway data folder ...", flush=True)
    with server(chosen.engine, **settings) as running:
        print(f"It answers at {running.endpoint_url}. Pricing the portfolio through its AWS Batch API:\n", flush=True)
        # Ctrl-C reaches both of us; the driver ends its jobs and reports, and we wait for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        driver = subprocess.Popen([sys.executable, str(RUN), *others], env=running.environment())
        return driver.wait()


def build(base: str | None) -> str | None:
    """The image's name, once it is built; None if it can't be, which Docker has said."""
    print(f"Building the image {IMAGE} ...", flush=True)
    arguments = [] if base is None else ["--build-arg", f"BASE={base}"]
    command = ["docker", "build", "--quiet", "--network", "host", "--tag", IMAGE, *arguments, str(HERE)]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        print("there is no `docker` command to build it with", file=sys.stderr)
        return None
    return IMAGE if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
