"""The examples are no installed packages: their folders are put on the path here, as their own programs do."""

from __future__ import annotations

import sys
from pathlib import Path

MONTECARLO = Path(__file__).resolve().parents[2] / "examples" / "montecarlo"
sys.path.insert(0, str(MONTECARLO))
