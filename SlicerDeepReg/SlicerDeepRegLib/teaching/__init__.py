"""Lessons on a pair whose true deformation is known: what is tried, what to look at, and what it shows."""
