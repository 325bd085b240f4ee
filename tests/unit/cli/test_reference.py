from __future__ import annotations

from pathlib import Path

from batchyard.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m batchyard.cli.reference > docs/cli.md"
