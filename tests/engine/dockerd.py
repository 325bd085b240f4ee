"""A Docker daemon of the tests' own: no registry, no default bridge, and a small image made here from busybox.

It keeps everything in one short-named folder (sockets' paths may not be long) and shares nothing with a daemon that
runs on the machine already, so that tests may kill it.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

IMAGE = "batchyard-test/busybox:1"
START_SECONDS = 60.0
MODES = {"tmp": 0o1777, "work": 0o700}
"""Of the image's folders that differ from the others."""
_BUSYBOX = "/bin/busybox"


def can_run() -> bool:
    """Whether a daemon can be started here: the programs are there, and this is root."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("dockerd", "busybox"))


class Dockerd:
    """One daemon. `stop` ends it as a service manager would, `kill` as the kernel would."""

    def __init__(self, *options: str) -> None:
        """`options` are further ones of dockerd's."""
        self._options = options
        self.folder = Path(tempfile.mkdtemp(prefix="byd-", dir="/tmp"))
        self.socket = self.folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
                    *("--pidfile", str(self.folder / "pid"), "--host", self.host, "--bridge", "none"),
                    *("--iptables=false", "--ip-forward=false", "--shutdown-timeout", "2"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process.poll() is None, f"dockerd ended:\n{self.log[-3000:]}"
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{self.log[-3000:]}"
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return self.call("GET", "/_ping", parse=False) is not None
        except OSError:
            return False

    def call(self, method: str, path: str, body: bytes | None = None, *, parse: bool = True, json: bool = False) -> Any:
        """One request, with a tar or `json` in it; the answer's JSON. AssertionError with the daemon's text if it
        refuses."""
        connection = _UnixConnection(self.socket)
        try:
            is_tar = method == "POST" and body and not json
            kind = {"Content-Type": "application/x-tar" if is_tar else "application/json"}
            connection.request(method, path, body, kind)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status < 400, text.decode()
        return msgspec.json.decode(text) if parse and text else text

    def make_image(self, name: str = IMAGE, *changes: str) -> None:
        """An image of busybox, whose working folder is empty."""
        query = [("fromSrc", "-"), ("repo", name.rpartition(":")[0]), ("tag", name.rpartition(":")[2])]
        query += [("changes", change) for change in ("WORKDIR /work", "ENV PATH=/bin", *changes)]
        self.call("POST", f"/images/create?{urllib.parse.urlencode(query)}", root_filesystem(), parse=False)

    def make_network(self, body: dict[str, Any]) -> None:
        self.call("POST", "/networks/create", msgspec.json.encode(body), json=True)

    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/containers/json?all=1")
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/containers/{name}/json")
        return found

    def volumes(self) -> list[str]:
        return [volume["Name"] for volume in self.call("GET", "/volumes")["Volumes"] or ()]

    def remove(self, name: str) -> None:
        """Remove a container, unless it is gone or somebody else is removing it."""
        try:
            self.call("DELETE", f"/containers/{name}?force=1&v=1", parse=False)
        except AssertionError as error:
            if "No such container" not in str(error) and "already in progress" not in str(error):
                raise

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the daemon: its containers go on until another looks after them."""
        self._end(signal.SIGKILL)
        # containerd goes with it; where nobody reaps that, its number would make the next daemon wait for it.
        for left in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / left).unlink(missing_ok=True)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def clear_away(self) -> None:
        """End the daemon with all its containers, and remove what it leaves."""
        if self._process is None:
            self.start()
        for container in self.containers():
            self.remove(container["Id"])
        for network in self.call("GET", "/networks"):
            if network["Name"] not in ("bridge", "host", "none"):
                # Its bridge would stay on this machine. A container may still be about to leave it.
                with contextlib.suppress(AssertionError):
                    self.call("DELETE", f"/networks/{network['Id']}", parse=False)
        self.stop()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (mount := line.split()[4]).startswith(str(self.folder)):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(*options: str) -> Iterator[Dockerd]:
    """A daemon with the image, for as long as the with-block lasts; `options` are further ones of dockerd's."""
    daemon = Dockerd(*options)
    try:
        daemon.start()
        daemon.make_image()
        yield daemon
    finally:
        daemon.clear_away()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=START_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def root_filesystem(note: str = "") -> bytes:
    """A tar of busybox, its names, and the folders that containers expect; another one for each note."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "work"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, MODES.get(folder, 0o755)
            tar.addfile(entry)
        _add(tar, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/work:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\nguest:x:1000:\n", 0o644)
        _add(tar, "etc/note", note.encode(), 0o644)
        for name in names:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, _BUSYBOX
            if name != "busybox":
                tar.addfile(entry)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
