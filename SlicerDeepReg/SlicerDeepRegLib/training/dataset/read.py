"""Reads the index of a data set from a folder, a CSV, or a Learn2Reg dataset.json."""

from __future__ import annotations

from pathlib import Path

from ...types import InputError
from .folder import read_folder
from .index import DatasetIndex
from .learn2reg import read_json
from .table import read_csv


def read_dataset_index(
    path: Path, images: str | None = None, labels: str | None = None, masks: str | None = None
) -> DatasetIndex:
    """Return the images at ``path``.

    Args:
        path: a folder, a .csv, or a Learn2Reg dataset.json.
        images, labels, masks: patterns of file names in the folder, as ``*/aligned_norm.nii.gz``; labels and masks
            belong to the image for which ``*`` stands for the same.

    Raises:
        InputError: there is nothing there, a file that is named is missing, or the form is another one.
    """
    if not path.exists():
        raise InputError(f"The data {path} do not exist. Check the path.")
    if path.is_dir():
        descriptions = sorted(path.glob("*dataset.json"))
        if not images and len(descriptions) == 1:
            return read_json(descriptions[0])
        index = read_folder(path, images, labels, masks)
    elif path.suffix == ".csv":
        index = read_csv(path)
    elif path.suffix == ".json":
        index = read_json(path)
    else:
        raise InputError(f"The data {path} must be a folder, a .csv, or a Learn2Reg dataset.json.")
    if not index.subjects:
        raise InputError(f"The data {path} name no images.")
    return index
