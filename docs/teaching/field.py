"""Lesson 1: what a displacement field is.

    python docs/teaching/field.py [--output DIR]

Registers a made head to a bent copy of itself, then does by hand what "warping" is: for one point of the fixed image it
looks up the field, goes there in the moving image, and compares what it finds with the warped image. A network, an
optimization and a ruler would all be asked for the same thing: an arrow for every point of the fixed image.
"""

from lesson import run
from SlicerDeepRegLib.geometry.points import apply_matrix, displacement_at, interpolate_at_ijk

#: A point at the front of the left ventricle, LPS mm.
POINT_MM = [[21.25, -23.75, -8.75]]


def look(pair, results):
    """One arrow, followed by hand."""
    result = results[0]
    arrow_mm = displacement_at(result.transform.field, POINT_MM)
    there_mm = apply_matrix(result.transform.linear_lps, POINT_MM + arrow_mm)  # T(x) = A (x + u(x)); A is 1 here

    def value(image, point_mm):
        return float(interpolate_at_ijk(image.values[..., None], apply_matrix(image.grid.lps_to_ijk, point_mm))[0, 0])

    print(f"Point of the fixed image, LPS mm: {POINT_MM[0]}")
    print(f"Its arrow u, mm:                  {[round(float(one), 1) for one in arrow_mm[0]]}")
    print(f"Moving image there, moving(x+u):  {value(pair.moving, there_mm):.1f}")
    print(f"Warped image here, warped(x):     {value(result.warped, POINT_MM):.1f}")
    print(f"Fixed image here, fixed(x):       {value(pair.fixed, POINT_MM):.1f}")
    print(f"Moving image here, moving(x):     {value(pair.moving, POINT_MM):.1f}")


if __name__ == "__main__":
    run("field", look, __doc__)
