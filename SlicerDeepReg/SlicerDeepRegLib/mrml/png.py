"""What a window shows as an array, and arrays as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy


def grab(window: vtk.vtkRenderWindow) -> np.ndarray:
    """Return what a window shows: (height, width, 3) uint8, first row on top."""
    camera = vtk.vtkWindowToImageFilter()
    camera.SetInput(window)
    camera.SetInputBufferTypeToRGB()
    camera.ReadFrontBufferOff()
    camera.ShouldRerenderOff()
    camera.Update()
    width, height, _ = camera.GetOutput().GetDimensions()
    return vtk_to_numpy(camera.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()


def png_bytes(rgb: np.ndarray) -> bytes:
    """Encode a picture, (height, width, 3) uint8, first row on top, as a PNG."""
    writer = _png_writer(rgb)
    writer.WriteToMemoryOn()
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()


def write_png(rgb: np.ndarray, path: Path) -> None:
    """Write a picture, (height, width, 3) uint8, first row on top, as a PNG file."""
    writer = _png_writer(rgb)
    writer.SetFileName(str(path))
    writer.Write()


def _png_writer(rgb: np.ndarray) -> vtk.vtkPNGWriter:
    height, width, _ = rgb.shape
    image_data = vtk.vtkImageData()
    image_data.SetDimensions(width, height, 1)
    image_data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(rgb[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image_data)
    return writer
