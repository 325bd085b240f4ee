"""Run one action: `python action.py split|price|report -b BASE -k KEY -o URI`. Needs no installation."""

from __future__ import annotations

import sys

from montecarlo.actions import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
