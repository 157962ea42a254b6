"""A registration as a page and as a PDF that somebody can sign; needs neither torch nor Slicer."""
