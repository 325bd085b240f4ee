"""Batchyard's own endpoints, for what the API of AWS Batch has no place for. Other servers don't have them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

TIMEOUT_SECONDS = 5


def job_view(base_url: str, job_id: str, name: str, *, use_proxy: bool) -> dict[str, Any] | None:
    """`GET /batchyard/v1/jobs/{job_id}/{name}`; None from a server that has no such route, or not this job."""
    from urllib.error import HTTPError, URLError
    from urllib.request import ProxyHandler, Request, build_opener

    opener = build_opener() if use_proxy else build_opener(ProxyHandler({}))
    request = Request(f"{base_url.rstrip('/')}/batchyard/v1/jobs/{quote(job_id, safe='')}/{name}")
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            body = json.load(response)
    except HTTPError as error:
        error.close()
        return None
    except (URLError, OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.get("jobId") == job_id else None
