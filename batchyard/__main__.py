"""`python -m batchyard` is the command `batchyard`."""

from __future__ import annotations

from batchyard.cli import main

if __name__ == "__main__":
    main()
