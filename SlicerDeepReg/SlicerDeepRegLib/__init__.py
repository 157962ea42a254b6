"""The library of SlicerDeepReg. Importing it imports nothing heavy; see docs/architecture.md for its rooms."""

__version__ = "0.2.0"
