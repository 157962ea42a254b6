"""Slicer's scenes with all their data in one file (.mrb): a zip archive of the scene and its data files."""

from __future__ import annotations

import copy
import shutil
import zipfile
from pathlib import Path

from .atomic import whole_file


def replace_in_bundle(bundle: Path, suffix: str, file: Path) -> None:
    """Put a file in the place of the one data file of a bundle whose name ends with ``suffix``.

    For what Slicer writes larger than it need be: transforms as doubles without compression.

    Raises:
        ValueError: there is none that ends so, or there are several.
        OSError: the bundle cannot be read or written; it is as it was.
    """
    with zipfile.ZipFile(bundle) as old, whole_file(bundle) as private:
        names = [item.filename for item in old.infolist() if item.filename.endswith(suffix)]
        if len(names) != 1:
            raise ValueError(f"{bundle} holds {len(names)} files that end with {suffix}.")
        with zipfile.ZipFile(private, "w") as new:
            for item in old.infolist():
                given = open(file, "rb") if item.filename == names[0] else old.open(item)
                with given as source, new.open(copy.copy(item), "w") as target:  # with the same date
                    shutil.copyfileobj(source, target, 1 << 20)
