"""What a file of weights is by its first bytes, so that what is no file of weights is called what it is."""

from __future__ import annotations

from pathlib import Path

from ..types import InputError
from .atomic import reason

_AGAIN = "Download the file itself again."
_INSIDE = "Unpack it, and give the file of weights that is in it."
#: How other files begin, what they are, and what to do.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, which only names the file of weights",
        "Run git lfs pull in its repository, or download the file itself.",
    ),
    (b"\x1f\x8b", "compressed with gzip", _INSIDE),
    (b"BZh", "compressed with bzip2", _INSIDE),
    (b"\xfd7zXZ\0", "compressed with xz", _INSIDE),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _INSIDE),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _INSIDE),
    (b"Rar!", "a RAR archive", _INSIDE),
    (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras and TensorFlow write it", "Only weights of PyTorch are read."),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
#: Bytes that are looked at; with them, the mark of a tar archive is seen.
_FIRST = 512


def kind(path: Path) -> str:
    """Return "safetensors", "zip" (torch since 1.6), "pickle" (torch before that) or "unknown", by the first bytes.

    Raises:
        InputError: the file is not there, is empty, or is something else that can be named.
    """
    try:
        with open(path, "rb") as stream:
            first = stream.read(_FIRST)
    except FileNotFoundError:
        raise InputError(f"The weights file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The weights {path} cannot be read ({reason(error)}).") from error
    what, remedy = _other(first)
    if what:
        raise InputError(f"The weights {path} cannot be read: this file is {what}. {remedy}")
    if first[:4] == b"PK\x03\x04":
        return "zip"
    if first[8:9] == b"{":  # a header of JSON behind its length
        return "safetensors"
    return "pickle" if first[:1] == b"\x80" else "unknown"


def _other(first: bytes) -> tuple[str, str]:
    """Return what a file is that begins so, and what to do; empty for what may be weights."""
    if not first:
        return "empty", "Copy or download it again."
    for begins, what, remedy in _OTHERS:
        if first.startswith(begins):
            return what, remedy
    if first[257:262] == b"ustar":
        return "a tar archive", _INSIDE
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_PAGES):
        return "a web page, perhaps the one that offers the weights or says that they cannot be had", _AGAIN
    if text and all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in first):
        named = "JSON, perhaps the message of a server" if text[:1] in b"{[" else "text"
        return named, _AGAIN
    return "", ""
