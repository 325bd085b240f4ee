"""Writes the pages of docs/ that list things, from the code: `python tools/generate_docs.py` (or `make docs`).

`tests/unit/test_docs.py` holds the pages in the repository to what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import compatibility_page, settings_page, states_page  # noqa: E402 - run as a script, not only as a module

DOCS = ROOT / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "compatibility.md": compatibility_page.render,
    "settings.md": settings_page.render,
    "states.md": states_page.render,
}


def main() -> None:
    for name, render in PAGES.items():
        (DOCS / name).write_text(render())
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
