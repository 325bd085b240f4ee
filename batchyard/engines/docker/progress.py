"""How far a pull has come, from what the daemon says of its layers: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

MB = 1_000_000
"""As Docker counts the sizes of images."""
_DOWNLOADED = ("Verifying Checksum", "Download complete", "Extracting", "Pull complete", "Already exists")
_UNPACKED = ("Pull complete", "Already exists")
_LAYER = ("Pulling fs layer", "Waiting", "Retrying", "Downloading", *_DOWNLOADED)


class Layer(Struct):
    """One layer: the daemon's last word on it, and its bytes; `total_bytes` is 0 until it is known."""

    status: str = ""
    downloaded_bytes: int = 0
    total_bytes: int = 0

    @property
    def is_unpacked(self) -> bool:
        return self.status in _UNPACKED


class Pull:
    """One pull of an image."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.layers: dict[str, Layer] = {}
        self.outcome = ""
        """The daemon's last word that was about the whole image."""

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take in one message of the daemon's; one that says nothing known changes nothing."""
        status = str(message.get("status", ""))
        known = next((each for each in _LAYER if status.startswith(each)), None)
        if known is None or "id" not in message:
            self.outcome = status or self.outcome
            return
        layer = self.layers.setdefault(str(message["id"]), Layer())
        layer.status = known
        detail = message.get("progressDetail") or {}
        if known == "Downloading":
            layer.downloaded_bytes = int(detail.get("current") or 0)
            layer.total_bytes = max(layer.total_bytes, int(detail.get("total") or 0))
        elif known in _DOWNLOADED:
            layer.downloaded_bytes = layer.total_bytes

    @property
    def downloaded_bytes(self) -> int:
        return sum(layer.downloaded_bytes for layer in self.layers.values())

    @property
    def total_bytes(self) -> int:
        """Of the layers whose size is known."""
        return sum(layer.total_bytes for layer in self.layers.values())

    @property
    def unpacked(self) -> int:
        return sum(layer.is_unpacked for layer in self.layers.values())

    @property
    def text(self) -> str:
        """In a few words, after the image's name."""
        parts = []
        if self.total_bytes:
            unknown = any(not layer.total_bytes and not layer.is_unpacked for layer in self.layers.values())
            most = f"{'at least ' if unknown else ''}{self.total_bytes / MB:.1f} MB"
            parts.append(f"{self.downloaded_bytes / MB:.1f} of {most}")
        if self.layers:
            parts.append(f"{self.unpacked} of {len(self.layers)} layers unpacked")
        return f"{self.image}: {', '.join(parts) or 'asking its registry'}"
