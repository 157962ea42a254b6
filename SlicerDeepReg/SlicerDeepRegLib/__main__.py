"""``python -m SlicerDeepRegLib`` is the command ``slicerdeepreg``."""

import sys

from .commands import main

sys.exit(main())
