"""An S3 for one test, run in a client's own environment: moto's, on a free port, with one bucket.

Prints its URL when it is ready, and ends with its standard input.
"""

from __future__ import annotations

import logging
import sys

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
