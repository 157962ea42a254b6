"""Every method on every pair: the pairs, one cell at a time, the table with its statistics, and the pages."""
