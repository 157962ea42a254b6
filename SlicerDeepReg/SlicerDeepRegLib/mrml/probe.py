"""A process that draws a small picture and says "drawn"; without a driver of OpenGL VTK ends it. See ``host``."""

from __future__ import annotations

import vtk


def main() -> None:
    """Draw it."""
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.AddRenderer(renderer)
    window.SetSize(16, 16)
    window.Render()
    print("drawn")


if __name__ == "__main__":
    main()
