"""Displacements and velocities in torch; torch begins here.

Tensors are (B, C, K, J, I), or (B, C, J, I) for 2D. Displacements and velocities are in voxels of
their own grid, channels in the order i, j(, k). Outside the grid everything takes its border value.
"""
