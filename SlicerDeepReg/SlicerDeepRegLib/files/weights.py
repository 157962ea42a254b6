"""Weights of networks as safetensors: arrays by name, and nothing that could run.

Weights that come with the product are stored smaller (``smaller``), and ``read_weights`` gives them back as float32:

- float16: the array under its own name.
- int8: the integers under the array's name, and beside them NAME:scale, float32, which has the length of the array
  along the axis of the output channels and 1 along the others; value = integer * scale. No parameter of a network has a
  colon in its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..types import InputError
from .atomic import reason
from .model_bytes import kind

#: The longest header that a safetensors file may have, bytes; that of the format's own readers.
_LONGEST_HEADER = 100_000_000
#: What is added to the name of an array of int8 for the name of its scale.
SCALE = ":scale"
#: How weights may be stored, beside float32.
STORAGES = ("float16", "int8")
#: Arrays of fewer values stay float16: first layers and heads, which take no space, and where rounding changes most.
_INT8_FROM = 16384


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file by name; those that are stored as float16 or int8 as float32.

    Raises:
        InputError: the file does not exist, is cut short, is not a safetensors file, does not fit into memory, or holds
            integers of int8 without their scale, or a scale that is none.
    """
    found = kind(path)
    if found in ("zip", "pickle"):
        raise InputError(f"{path.name} is a file of PyTorch or a zip archive, not safetensors. Name it .pth.")
    try:
        _check_header(path)
        return _restored(load_file(path), path)
    except MemoryError:
        raise InputError(f"The weights {path} need more memory than there is. Close other programs.") from None
    except InputError:
        raise
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


def _restored(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file as they were before ``smaller``; see the head of this one."""
    scales = {name[: -len(SCALE)]: array for name, array in arrays.items() if name.endswith(SCALE)}
    found = {name: array for name, array in arrays.items() if not name.endswith(SCALE)}
    integers = {name for name, array in found.items() if array.dtype == np.int8}
    wrong = [f"the integers of {name} have no scale" for name in integers - set(scales)]
    wrong += [f"{name}{SCALE} belongs to no integers" for name in set(scales) - integers]
    for name in integers & set(scales):
        if not _is_scale(scales[name], found[name].shape):
            wrong.append(f"{name}{SCALE} is not one number above 0 for each channel of {name}")
    if wrong:
        raise InputError(f"The weights {path} are damaged: {min(wrong)}. Copy the file again, or save it again.")
    for name, array in found.items():
        if name in integers:
            found[name] = array.astype(np.float32) * scales[name]
        elif array.dtype == np.float16:
            found[name] = array.astype(np.float32)
    return found


def _is_scale(scale: np.ndarray, shape: tuple[int, ...]) -> bool:
    channels = [tuple(n if axis == a else 1 for a, n in enumerate(shape)) for axis in range(len(shape))]
    return scale.dtype == np.float32 and scale.shape in channels and bool((np.isfinite(scale) & (scale > 0)).all())


def smaller(arrays: Mapping[str, np.ndarray], storage: str, transposed: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Return the arrays as they are stored to take a half or a quarter of float32.

    Args:
        storage: "float16"; or "int8", the integers nearest to the values over the largest of their output channel, for
            arrays of two axes or more. Smaller ones (biases, norms) are float16 in both; integers stay.
        transposed: names of arrays whose output channels lie along the second axis, those of transposed convolutions.

    Raises:
        InputError: a value is not finite, or beyond what float16 holds.
    """
    stored = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            stored[name] = array
            continue
        if not (np.abs(array) <= np.finfo(np.float16).max).all():
            raise InputError(f"{name} has values that {storage} cannot hold (NaN, or above 65504). Train it again.")
        if storage == "float16" or array.ndim < 2 or array.size < _INT8_FROM:
            stored[name] = array.astype(np.float16)
            continue
        out = 1 if name in transposed else 0
        largest = np.abs(array).max(tuple(a for a in range(array.ndim) if a != out), keepdims=True)
        scale = (largest / 127).astype(np.float32)
        scale[scale == 0] = 1
        stored[name] = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        stored[name + SCALE] = scale
    return stored


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
