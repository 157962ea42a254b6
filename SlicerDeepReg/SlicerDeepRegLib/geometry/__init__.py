"""Pure functions between indices, millimeters and grids. numpy only."""
