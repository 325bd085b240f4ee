"""The way of a job's output: from its pipe into its log file, as it comes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from batchyard.engines.process.appendfile import AppendFile
from batchyard.logframes import MAX_PAYLOAD_BYTES, header, log_path, trailer

DRAIN_BYTES = 1024 * 1024
"""As large as Linux lets anyone make a pipe: more can't have been in it when the job ended."""

# One for all: the supervisor is single-threaded and done with it before it reads again.
_buffer = memoryview(bytearray(MAX_PAYLOAD_BYTES))


class Output:
    """The reading end of a job's pipe, and its log. A job that writes nothing makes no file."""

    def __init__(self, attempt_id: str, logs_dir: Path) -> None:
        self._attempt_id = attempt_id
        self._logs_dir = logs_dir
        self._file: AppendFile | None = None
        self._last_ms = 0
        self.dropped_bytes = 0
        self.error: OSError | None = None
        self.fd, self.job_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)

    def close_job_end(self) -> None:
        """To be called once the job is spawned, or is not going to be."""
        if self.job_fd >= 0:
            os.close(self.job_fd)
            self.job_fd = -1

    def pump(self) -> int | None:
        """Take over what is there, up to one frame: how many bytes. 0 is the end, None nothing at the moment."""
        try:
            count = os.readv(self.fd, (_buffer,))
        except BlockingIOError:
            return None
        if count:
            self._keep(_buffer[:count])
        return count

    def drain(self) -> None:
        """Take over what the job left behind."""
        left = DRAIN_BYTES if self.fd >= 0 else 0
        while left > 0 and (count := self.pump()):
            left -= count

    def _keep(self, payload: memoryview) -> None:
        # The time never runs backward in a log, whatever happens to the clock: readers stop at the first later event.
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        length = len(payload)
        try:
            if self._file is None:
                path = log_path(self._logs_dir, self._attempt_id)
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = AppendFile(str(path))
            self._file.append((header(length, self._last_ms), payload, trailer(length)))
        except OSError as error:
            # A full disk must not stop the job: what can't be kept is counted, and the next read tries again.
            self.dropped_bytes += length
            self.error = error

    def close(self) -> None:
        self.close_job_end()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._file is not None:
            self._file.close()
            self._file = None
