"""Write a picture in few colors: a quarter of its bytes, with nothing lost that a reader sees.

python tools/small_picture.py docs/overview.png ...     rewrites these
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

#: Gray levels of an image and a few others.
COLORS = 96


def few_colors(picture: Image.Image) -> Image.Image:
    """Return the picture in few colors, chosen for it."""
    return picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)


def make_small(path: Path) -> None:
    """Rewrite a picture in few colors, unless that makes it larger."""
    with Image.open(path) as picture:
        small = few_colors(picture)
    before = path.read_bytes()
    small.save(path, optimize=True)
    if path.stat().st_size > len(before):
        path.write_bytes(before)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        make_small(Path(name))
