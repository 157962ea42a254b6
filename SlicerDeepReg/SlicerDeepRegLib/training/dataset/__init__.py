"""What a training is given: which images, and which pairs it makes of them.

``read.py`` reads a folder, a CSV or a Learn2Reg dataset.json into an index (``index.py``); ``splits.py`` decides what
is held out, and ``pairs.py`` makes the pairs.
"""
