"""Folders of the project, and of the real images beside it."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
#: The folder that is put on PYTHONPATH to run the extension from its sources.
LIBRARY = PROJECT / "SlicerDeepReg"
DATA = Path(os.environ.get("DEEPREG_DATA", PROJECT.parent / "shared" / "data")) / "open"
