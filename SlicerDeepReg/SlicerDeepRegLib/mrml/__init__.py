"""Slicer's scene and views: nodes from and to images, fields and results. No Qt, no torch.

The flip between our LPS and Slicer's RAS happens in this room (`nodes.py`) and nowhere else.
"""
