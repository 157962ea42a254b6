"""Checkpoints that others have released, supplied by a user: which network they are of, and their arrays as ours.

Nothing here runs what a file holds, and no file of others comes with the product. A family is recognized by the names
of its arrays, its widths by their shapes; the rules for names and for what their code meant by a field are data.
"""

from .recognize import Pretrained, recognize

__all__ = ["Pretrained", "recognize"]
