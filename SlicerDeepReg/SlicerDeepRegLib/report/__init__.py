"""Reports on a registration, as an HTML page and as a PDF to sign; needs neither torch nor Slicer."""
