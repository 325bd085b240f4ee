"""What is made of a daemon's messages about a pull."""

from __future__ import annotations

from typing import Any

from batchyard.engines.docker.progress import Pull


def heard(*messages: dict[str, Any]) -> Pull:
    pull = Pull("busybox:1")
    for message in messages:
        pull.hear(message)
    return pull


def layer(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"id": name, "status": status, "progressDetail": detail}


def test_before_anything_is_known_the_registry_is_asked() -> None:
    assert heard().text == "busybox:1: asking its registry"
    assert heard({"id": "1", "status": "Pulling from library/busybox"}).text == "busybox:1: asking its registry"


def test_layers_add_up_and_unknown_sizes_are_told() -> None:
    pull = heard(
        layer("a", "Pulling fs layer"),
        layer("b", "Waiting"),
        layer("a", "Downloading", 2_000_000, 10_000_000),
    )
    assert pull.text == "busybox:1: 2.0 of at least 10.0 MB, 0 of 2 layers unpacked"
    pull.hear(layer("b", "Downloading", 1_000_000, 5_000_000))
    assert pull.text == "busybox:1: 3.0 of 15.0 MB, 0 of 2 layers unpacked"


def test_a_layer_that_was_downloaded_whole_counts_whole() -> None:
    pull = heard(layer("a", "Downloading", 9, 10_000_000), layer("a", "Download complete"))
    assert pull.text == "busybox:1: 10.0 of 10.0 MB, 0 of 1 layers unpacked"
    pull.hear(layer("a", "Extracting", 5, 10_000_000))
    pull.hear(layer("a", "Pull complete"))
    assert pull.text == "busybox:1: 10.0 of 10.0 MB, 1 of 1 layers unpacked"


def test_a_layer_that_is_there_already_is_done() -> None:
    assert heard(layer("a", "Already exists")).text == "busybox:1: 1 of 1 layers unpacked"


def test_the_last_word_about_the_whole_is_the_outcome() -> None:
    pull = heard(layer("a", "Pull complete"), {"status": "Status: Downloaded newer image for busybox:1"})
    assert pull.outcome == "Status: Downloaded newer image for busybox:1"


def test_messages_of_unknown_form_change_nothing() -> None:
    assert heard({}, {"id": "a"}, {"stream": "x"}, {"id": "a", "status": "Something new"}).layers == {}
