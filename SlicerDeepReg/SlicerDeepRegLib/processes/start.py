"""Run a module of the library in a new process; ``launch.module_command`` makes the command.

    python .../SlicerDeepRegLib/processes/start.py MODULE ARGUMENT ...

By the path of this file: with ``-m`` or ``-c`` Python looks for every module in the working folder first, so that a
``json.py`` which lies there would be run, and its option against that (``-P``) came with Python 3.11.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the module that the command line names, found beside this file and nowhere else."""
    here = Path(__file__).resolve()
    library = str(here.parents[2])
    package = here.parents[1].name
    sys.path[:] = [folder for folder in sys.path if folder and Path(folder).resolve() != here.parent]
    sys.path.insert(0, library)
    __import__(package)
    # What lies beside the package (all of site-packages, or Slicer's modules) stands in for no module of Python.
    sys.path.remove(library)
    sys.path.append(library)
    # Not only in ``launch``: Slicer's launcher of Python sets it anew.
    os.environ.pop("ITK_AUTOLOAD_PATH", None)
    del sys.argv[0]
    runpy.run_module(f"{package}.{sys.argv[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
