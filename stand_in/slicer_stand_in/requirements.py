"""Whether the libraries that the stand-in needs are here."""

from __future__ import annotations


def missing() -> str:
    """Return what Qt lacks on this computer, or "" if the stand-in can run.

    Raises:
        ImportError: PySide6 is installed but broken in a way that no system package would repair.
    """
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ModuleNotFoundError:
        return "PySide6 is not installed"
    except ImportError as error:
        if "cannot open shared object" in str(error):
            return str(error)
        raise
    return ""
