"""Weights of networks as safetensors: arrays by name, and nothing that could run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..types import InputError


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name.

    Raises:
        InputError: the file is not there, is cut short, or is not of this kind.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"The weights {path} are not there.") from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The weights {path} cannot be read ({error}). The file is cut short, or is not a safetensors file of "
            "float16 or float32 arrays. Copy it again, or save it again."
        ) from error


def write_weights(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write the arrays; returns the SHA-256 of the file."""
    save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path)
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
