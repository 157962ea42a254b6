"""Shrink a picture for the README: python tools/readme_picture.py demo/overview.png docs/overview.png"""

from __future__ import annotations

import sys

import numpy as np
import SimpleITK as sitk


def main(source: str, target: str, factor: int = 2) -> None:
    """Write the picture, shrunk by a whole factor."""
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(source)).astype(float)
    height, width = (n // factor * factor for n in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // factor, factor, width // factor, factor, -1)
    small = sitk.GetImageFromArray(np.round(blocks.mean((1, 3))).astype(np.uint8), isVector=True)
    sitk.WriteImage(small, target, useCompression=True, compressionLevel=9)


if __name__ == "__main__":
    main(*sys.argv[1:3])
