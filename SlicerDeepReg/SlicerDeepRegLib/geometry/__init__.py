"""Pure functions between indices, millimetres and grids. numpy only."""
