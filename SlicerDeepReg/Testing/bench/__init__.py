"""A stand-in for the Qt side of 3D Slicer, for tests without Slicer: ``from bench import Bench``."""

from .slicer_side import Bench

__all__ = ["Bench"]
