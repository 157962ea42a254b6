"""Say which system packages are missing, before anything is installed. Run by `make setup`."""

import ctypes.util
import sys

if not (3, 10) <= sys.version_info < (3, 14):
    sys.exit(
        f"make: Python 3.10 to 3.13 is needed (slicer-core has no wheel for others); this is {sys.version.split()[0]}. "
        "Install one and run 'make PYTHON=python3.12', for example."
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("make: Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv")
if sys.platform.startswith("linux"):
    if not ctypes.util.find_library("EGL"):
        print(
            "make: note: OpenGL (EGL) was not found, so there will be no pictures. To have them, on Debian or Ubuntu: "
            "apt-get install libegl1 libgl1-mesa-dri"
        )
    qt = {"GL": "libgl1", "xkbcommon": "libxkbcommon0", "fontconfig": "libfontconfig1", "dbus-1": "libdbus-1-3"}
    qt["glib-2.0"] = "libglib2.0-0"
    missing = [package for library, package in qt.items() if not ctypes.util.find_library(library)]
    if missing:
        print(
            "make: note: libraries that Qt needs were not found, so the tests of the panel will be left out. To run "
            f"them, on Debian or Ubuntu: apt-get install libegl1 {' '.join(missing)}"
        )
