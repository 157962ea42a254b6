"""What the module's panel does: from the user's choice to a run in the scene. Qt only where a file says so."""
