"""The container that holds what the containers of a task share: a network, and where they ask for it, IPC and PIDs.

A namespace can be joined only while the container that it belongs to runs, and any container of a task may end before
another one starts. So it belongs to one that does nothing else, as on ECS. Its image is made here, of one program of
two hundred bytes, because no image that could be pulled is sure to be at hand.
"""

from __future__ import annotations

import io
import struct
import tarfile
from typing import Any

from batchyard.core.reasons import cannot_start
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.exceptions import CannotLaunchError, DaemonRefusedError

IMAGE = "batchyard-pause:1"
PROGRAM = "pause"
CHANGES = (f'ENTRYPOINT ["/{PROGRAM}"]',)

_BASE = 0x400000
_ELF_HEADER_BYTES, _PROGRAM_HEADER_BYTES = 64, 56
_CODE_AT = _BASE + _ELF_HEADER_BYTES + _PROGRAM_HEADER_BYTES
_IGNORE = struct.pack("<QQQQ", 1, 0, 0, 0)
"""The kernel's struct sigaction for "ignore"."""
_SIGCHLD, _SIGNAL_SET_BYTES = 17, 8
_X86_64, _AARCH64 = 62, 183


def program(architecture: str) -> bytes:
    """An ELF program that sleeps for ever, and as the first of a PID namespace leaves no zombies: it ignores SIGCHLD,
    so that the kernel reaps. CannotLaunchError for processors that it isn't written for."""
    if architecture in ("x86_64", "amd64"):
        return _elf(_X86_64, _x86_64())
    if architecture in ("aarch64", "arm64"):
        return _elf(_AARCH64, _aarch64())
    raise CannotLaunchError(cannot_start(f"a task of several containers needs x86_64 or arm64, not {architecture}"))


def _x86_64() -> bytes:
    """rt_sigaction(SIGCHLD, &ignore, NULL, 8); for (;;) pause();"""
    size = 40
    before = b"".join(
        (
            b"\xb8" + struct.pack("<I", 13),  # mov eax, rt_sigaction
            b"\xbf" + struct.pack("<I", _SIGCHLD),  # mov edi, SIGCHLD
            b"\xbe" + struct.pack("<I", _CODE_AT + size),  # mov esi, ignore
            b"\x31\xd2",  # xor edx, edx
            b"\x41\xba" + struct.pack("<I", _SIGNAL_SET_BYTES),  # mov r10d, 8
            b"\x0f\x05",  # syscall
        )
    )
    loop = b"\xb8" + struct.pack("<I", 34) + b"\x0f\x05"  # mov eax, pause; syscall
    loop += b"\xeb" + struct.pack("<b", -(len(loop) + 2))  # jmp loop
    return (before + loop).ljust(size, b"\x90") + _IGNORE


def _aarch64() -> bytes:
    """rt_sigaction(SIGCHLD, &ignore, NULL, 8); for (;;) ppoll(NULL, 0, NULL, NULL);"""
    size = 56

    def set_(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    call = 0xD4000001
    words = [
        set_(0, _SIGCHLD),
        0xD2A00000 | (_BASE >> 16) << 5 | 1,
        0xF2800000 | (_CODE_AT + size - _BASE) << 5 | 1,
        set_(2, 0),
        set_(3, _SIGNAL_SET_BYTES),
        set_(8, 134),
        call,
        set_(0, 0),
        set_(1, 0),
        set_(2, 0),
        set_(3, 0),
        set_(8, 73),
        call,
        0x14000000 | (-6 & 0x3FFFFFF),
    ]
    return struct.pack(f"<{len(words)}I", *words) + _IGNORE


def _elf(machine: int, code: bytes) -> bytes:
    size = _ELF_HEADER_BYTES + _PROGRAM_HEADER_BYTES + len(code)
    header = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _CODE_AT, _ELF_HEADER_BYTES, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def root_filesystem(architecture: str) -> bytes:
    """A tar of the image's one file."""
    content = program(architecture)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(PROGRAM)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


async def ensure_image(client: Client, link: Link, architecture: str) -> None:
    """See to it that the image is there. CannotLaunchError if it can't be made."""
    content = root_filesystem(architecture)
    try:
        if not await link.reliably(lambda: client.has_image(IMAGE)):
            await link.reliably(lambda: client.make_image(IMAGE, content, CHANGES))
    except DaemonRefusedError as error:
        raise CannotLaunchError(cannot_start(f"the image {IMAGE}: {error}")) from error


def body(labels: dict[str, str], host_config: dict[str, Any]) -> dict[str, Any]:
    """What to ask of Docker for the container. It is killed, not asked, when it has to end."""
    return {
        "Image": IMAGE,
        "Labels": labels,
        "StopSignal": "SIGKILL",
        "HostConfig": {"LogConfig": {"Type": "none"}, "ReadonlyRootfs": True, "CapDrop": ["ALL"], **host_config},
    }
