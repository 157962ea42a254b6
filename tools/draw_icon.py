"""Draw the extension's icon, a deformed grid: python tools/draw_icon.py FILE.png"""

from __future__ import annotations

import sys

import numpy as np
import SimpleITK as sitk


def main(path: str, size: int = 128, finer: int = 4) -> None:
    """Draw it ``finer`` times as large, and average."""
    n = size * finer
    y, x = np.mgrid[:n, :n] / n - 0.5
    bulge = 0.08 * np.exp(-(x**2 + y**2) / 0.05)
    u, v = x - bulge * x / 0.2 + 0.03 * np.sin(6 * y), y - bulge * y / 0.2 + 0.03 * np.sin(6 * x)
    lines = np.minimum(np.abs((u * 7 + 0.5) % 1 - 0.5), np.abs((v * 7 + 0.5) % 1 - 0.5)) < 0.09
    corner = np.maximum(np.abs(x), np.abs(y)) - 0.36
    inside = (corner < 0) | (np.hypot(np.maximum(np.abs(x) - 0.36, 0), np.maximum(np.abs(y) - 0.36, 0)) < 0.12)
    colors = np.where(lines[..., None], [255.0, 200, 60], [24.0, 62, 110]) * inside[..., None]
    picture = np.concatenate([colors, 255.0 * inside[..., None]], -1)
    picture = picture.reshape(size, finer, size, finer, 4).mean((1, 3))
    picture[..., :3] /= np.maximum(picture[..., 3:] / 255, 1e-6)
    sitk.WriteImage(sitk.GetImageFromArray(np.clip(picture, 0, 255).astype(np.uint8), isVector=True), path)


if __name__ == "__main__":
    main(sys.argv[1])
