"""Weights of networks as safetensors: arrays by name, and nothing that could run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..types import InputError
from .atomic import reason
from .model_bytes import kind

#: The longest header that a safetensors file may have, bytes; that of the format's own readers.
_LONGEST_HEADER = 100_000_000


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file by name.

    Raises:
        InputError: the file does not exist, is cut short, is not a safetensors file, or does not fit into memory.
    """
    found = kind(path)
    if found in ("zip", "pickle"):
        raise InputError(f"{path.name} is a file of PyTorch or a zip archive, not safetensors. Name it .pth.")
    try:
        _check_header(path)
        return load_file(path)
    except MemoryError:
        raise InputError(f"The weights {path} need more memory than there is. Close other programs.") from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The weights {path} cannot be read ({reason(error)}). The file is cut short, or is not a safetensors file "
            "of float16 or float32 arrays. Copy it again, or save it again."
        ) from error


def _check_header(path: Path) -> None:
    """Compare the length of the header with that of the file, before it is read.

    The extents of the arrays are compared with the file by ``load_file``, before it makes an array.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > min(size - 8, _LONGEST_HEADER):
        raise ValueError(f"its header would have {length} bytes, and the file has {size}")


def write_weights(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write the arrays; return the SHA-256 of the file."""
    save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path)
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
