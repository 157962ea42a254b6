"""``python -m SlicerDeepRegLib`` is the command ``slicerdeepreg``."""

import os
import sys

# With -m, Python looks for every module in the working folder first: a json.py that lies there would be run.
if not getattr(sys.flags, "safe_path", False) and sys.path[0] == os.getcwd():
    del sys.path[0]

from .commands import main  # noqa: E402 - only now

sys.exit(main())
