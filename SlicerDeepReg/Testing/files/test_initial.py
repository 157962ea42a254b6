"""Transforms to start from, beside what the programs that write them make of points."""

import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import AFFINE, GEOMETRIES, LAS, LPS, OBLIQUE, make_grid, rotation
from helpers.images import smooth_field
from SlicerDeepRegLib.files.images import place
from SlicerDeepRegLib.files.initial import read_initial
from SlicerDeepRegLib.files.transform_files import step_mm, write_transform
from SlicerDeepRegLib.geometry.grids import oriented, padded, resized
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.processes import memory
from SlicerDeepRegLib.types import Grid, Image, InputError, Transform

CENTER = (3.0, -4.0, 5.0)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def image(grid, dimensions=3):
    return Image(np.zeros(grid.shape_kji, np.float32), grid, "image", dimensions)


FIXED = image(make_grid((14, 16, 11), (4.0, 3.5, 5.0), OBLIQUE))
MOVING = image(make_grid((15, 13, 12), (4.5, 5.0, 4.0), LAS, (1.0, -2.0, 0.5)))
#: A 2D file lies in the plane z = 0.
FLAT_FIXED = image(Grid((20, 17, 1), make_grid((20, 17, 1), (3.0, 4.0, 1.0), rotation([0, 0, 25])).ijk_to_lps), 2)
FLAT_MOVING = image(make_grid((18, 18, 1), (3.5, 3.5, 1.0), LPS, (2.0, 1.0, 0.0)), 2)
PAIRS = {2: (FLAT_FIXED, FLAT_MOVING), 3: (FIXED, MOVING)}


def inside(grid, count=40):
    """Points within the voxel centers of a grid, LPS mm."""
    ijk = np.random.default_rng(0).uniform(0, 1, (count, 3)) * (np.array(grid.size_ijk) - 1)
    return apply_matrix(grid.ijk_to_lps, ijk)


def through(itk, points):
    """What ITK makes of LPS points; a 2D transform leaves z as it is."""
    n = itk.GetDimension()
    return np.array([[*itk.TransformPoint(p[:n].tolist()), *p[n:]] for p in points])


def refused(path, words, fixed=FIXED, moving=MOVING):
    with pytest.raises(InputError, match=words) as caught:
        read_initial(path, fixed, moving)
    assert caught.value.control == "initial"
    assert str(path.name) in str(caught.value)


# ------------------------------------------------------------------ ITK's linear transforms


def affine(dimensions=3):
    return sitk.AffineTransform(
        AFFINE[:dimensions, :dimensions].ravel().tolist(), [2.5, -3.0, 1.5][:dimensions], CENTER[:dimensions]
    )


VERSOR = (0.1, -0.05, 0.15)
LINEAR = {
    "Euler3D": sitk.Euler3DTransform(CENTER, 0.1, -0.2, 0.3, (5, 6, -7)),
    "Versor": sitk.VersorTransform((0.1, -0.05, 0.15, 0.98), CENTER),
    "VersorRigid3D": sitk.VersorRigid3DTransform((1, 2, 3), 0.3, (4, -5, 6), CENTER),
    "Similarity3D": sitk.Similarity3DTransform(1.2, (1, 2, 3), 0.3, (4, -5, 6), CENTER),
    "ScaleVersor3D": sitk.ScaleVersor3DTransform((1.1, 0.9, 1.2), (1, 2, 3), 0.3, (4, -5, 6), CENTER),
    "ScaleSkewVersor3D": sitk.ScaleSkewVersor3DTransform(
        (1.1, 0.9, 1.2), (0.05, 0.01, -0.02, 0.03, 0.04, -0.01), (1, 2, 3), 0.3, (4, -5, 6), CENTER
    ),
    "Affine": affine(),
    "Translation": sitk.TranslationTransform(3, (7, -8, 9)),
    "Scale": sitk.ScaleTransform(3, (1.1, 0.9, 1.2)),
    "composite": sitk.CompositeTransform(
        [affine(), sitk.Euler3DTransform(CENTER, 0.1, -0.2, 0.3, (5, 6, -7)), sitk.ScaleTransform(3, (1.1, 0.9, 1.2))]
    ),
    "Euler2D": sitk.Euler2DTransform(CENTER[:2], 0.3, (5, -6)),
    "Similarity2D": sitk.Similarity2DTransform(1.2, 0.3, (5, -6), CENTER[:2]),
    "Affine 2D": affine(2),
    "Translation 2D": sitk.TranslationTransform(2, (7, -8)),
    "Scale 2D": sitk.ScaleTransform(2, (1.1, 0.9)),
    "composite 2D": sitk.CompositeTransform([affine(2), sitk.Euler2DTransform(CENTER[:2], 0.3, (5, -6))]),
}


#: ITK cannot write composites as .mat.
WRITTEN = [
    (kind, ending)
    for kind in LINEAR
    for ending in ("h5", "hdf5", "tfm", "txt", "mat")
    if ending != "mat" or not kind.startswith("composite")
]


@pytest.mark.parametrize("kind, ending", WRITTEN)
def test_a_linear_transform_of_itk_becomes_a_matrix(tmp_path, kind, ending):
    itk = LINEAR[kind]
    sitk.WriteTransform(itk, str(tmp_path / f"a.{ending}"))
    fixed, moving = PAIRS[itk.GetDimension()]
    found, notes = read_initial(str(tmp_path / f"a.{ending}"), fixed, moving)
    points = inside(fixed.grid)
    assert found.field is None and notes == ()
    assert np.allclose(fixed_to_moving(found, points), through(itk, points), atol=1e-9)
    assert np.abs(through(itk, points) - points).max() > 1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_transform_of_older_versions_of_ants_is_read(tmp_path, dimensions):
    n, numbers = (
        dimensions,
        " ".join(map(str, [*AFFINE[:dimensions, :dimensions].ravel(), *(4.0, 5.0, 6.0)[:dimensions]])),
    )
    (tmp_path / "Affine.txt").write_text(
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_{n}_{n}\n"
        f"Parameters: {numbers}\nFixedParameters: {' '.join(map(str, CENTER[:n]))}\n"
    )
    fixed, moving = PAIRS[dimensions]
    found, _ = read_initial(tmp_path / "Affine.txt", fixed, moving)
    points = inside(fixed.grid)
    middle = np.array(CENTER[:n])
    expected = (points[:, :n] - middle) @ AFFINE[:n, :n].T + middle + np.array([4.0, 5.0, 6.0])[:n]
    assert np.allclose(fixed_to_moving(found, points)[:, :n], expected)


def test_a_transform_that_mirrors_is_read_and_this_is_said(tmp_path):
    sitk.WriteTransform(sitk.ScaleTransform(3, (-1, 1, 1)), str(tmp_path / "a.tfm"))
    found, notes = read_initial(tmp_path / "a.tfm", FIXED, MOVING)
    assert np.allclose(found.linear_lps, np.diag([-1, 1, 1, 1]))
    assert len(notes) == 1 and "left into right" in notes[0]


# ------------------------------------------------------------------ others of ITK


def displacement(grid, dimensions=3):
    """Return a smooth displacement as a vector image of SimpleITK."""
    vectors = smooth_field(grid).displacement_lps_mm.astype(float)
    vectors = vectors[0, ..., :2] if dimensions == 2 else vectors
    itk = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    place(itk, grid)
    return itk


def bspline(dimensions):
    fixed = PAIRS[dimensions][0]
    reference = displacement(fixed.grid, dimensions)
    itk = sitk.BSplineTransformInitializer(sitk.VectorIndexSelectionCast(reference, 0), [3] * dimensions)
    itk.SetParameters(np.random.default_rng(0).uniform(-5, 5, len(itk.GetParameters())).tolist())
    return itk


def bent(kind, dimensions):
    field = sitk.DisplacementFieldTransform(displacement(PAIRS[dimensions][0].grid, dimensions))
    return {
        "B-spline": bspline(dimensions),
        "affine and field": sitk.CompositeTransform([affine(dimensions), field]),
        "affine and B-spline": sitk.CompositeTransform([bspline(dimensions), affine(dimensions)]),
    }[kind]


@pytest.mark.parametrize("ending", ["h5", "tfm"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kind", ["B-spline", "affine and field", "affine and B-spline"])
def test_what_is_not_linear_is_taken_at_the_fixed_voxels(tmp_path, kind, dimensions, ending):
    itk, (fixed, moving) = bent(kind, dimensions), PAIRS[dimensions]
    sitk.WriteTransform(itk, str(tmp_path / f"a.{ending}"))
    found, notes = read_initial(tmp_path / f"a.{ending}", fixed, moving)
    centers = voxel_centers_lps(fixed.grid).reshape(-1, 3)
    assert np.array_equal(found.linear_lps, np.eye(4)) and found.field.grid.same_as(fixed.grid)
    assert found.field.displacement_lps_mm.dtype == np.float32
    assert np.allclose(fixed_to_moving(found, centers), through(itk, centers), atol=1e-4)
    assert np.abs(found.field.displacement_lps_mm).max() > 2
    assert len(notes) == 1 and "not linear" in notes[0]


def test_the_transform_that_a_registration_wrote_is_read(tmp_path):
    ours = Transform(AFFINE, smooth_field(FIXED.grid))
    write_transform(ours, tmp_path / "transform.h5")
    found, _ = read_initial(tmp_path / "transform.h5", FIXED, MOVING)
    centers = voxel_centers_lps(FIXED.grid).reshape(-1, 3)
    assert np.allclose(fixed_to_moving(found, centers), fixed_to_moving(ours, centers), atol=2 * step_mm(ours.field))


@pytest.mark.parametrize(
    "own",
    [resized(FIXED.grid, (7, 9, 6)), padded(FIXED.grid, (2, 1, 3)), oriented(padded(FIXED.grid, (1, 1, 1)), "RAS")],
    ids=["coarser", "larger", "other axes"],
)
def test_a_field_alone_stays_on_its_own_voxels(tmp_path, own):
    itk = sitk.DisplacementFieldTransform(displacement(own))
    sitk.WriteTransform(itk, str(tmp_path / "a.h5"))
    found, notes = read_initial(tmp_path / "a.h5", FIXED, MOVING)
    assert notes == () and found.field.grid.voxels == own.voxels
    assert np.allclose(found.field.grid.direction, FIXED.grid.direction)
    points = inside(FIXED.grid, 200)
    assert np.allclose(fixed_to_moving(found, points), through(itk, points), atol=1e-4)


def test_a_field_of_other_directions_is_taken_at_the_fixed_voxels(tmp_path):
    itk = sitk.DisplacementFieldTransform(displacement(make_grid((30, 30, 30), (4.0, 4.0, 4.0), LPS)))
    sitk.WriteTransform(itk, str(tmp_path / "a.h5"))
    found, notes = read_initial(tmp_path / "a.h5", FIXED, MOVING)
    centers = voxel_centers_lps(FIXED.grid).reshape(-1, 3)
    assert found.field.grid.same_as(FIXED.grid) and notes == ()
    assert np.allclose(fixed_to_moving(found, centers), through(itk, centers), atol=1e-4)


def test_beyond_a_field_nothing_is_displaced_as_in_itk(tmp_path):
    part = Grid((8, 16, 11), FIXED.grid.ijk_to_lps)
    itk = sitk.DisplacementFieldTransform(displacement(part))
    sitk.WriteTransform(itk, str(tmp_path / "a.h5"))
    found, notes = read_initial(tmp_path / "a.h5", FIXED, MOVING)
    centers = voxel_centers_lps(FIXED.grid).reshape(-1, 3)
    assert np.allclose(fixed_to_moving(found, centers), through(itk, centers), atol=1e-4)
    assert not found.field.displacement_lps_mm[..., 9:, :].any() and found.field.displacement_lps_mm[..., :8, :].any()
    assert len(notes) == 1 and "nothing was displaced" in notes[0]


# ------------------------------------------------------------------ displacement fields as images


SLICE = image(make_grid((14, 16, 1), (4.0, 3.5, 5.0), LPS, (0.0, 0.0, 40.0)))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha", "mhd"])
@pytest.mark.parametrize("pair", [PAIRS[3], PAIRS[2], (SLICE, SLICE)], ids=["volume", "2D", "one slice"])
def test_a_displacement_field_is_read_from_an_image(tmp_path, pair, ending):
    fixed, moving = pair
    itk = displacement(fixed.grid, fixed.dimensions)
    sitk.WriteImage(itk, str(tmp_path / f"a.{ending}"))
    found, notes = read_initial(tmp_path / f"a.{ending}", fixed, moving)
    assert np.array_equal(found.linear_lps, np.eye(4)) and found.field.grid.same_as(fixed.grid)
    assert len(notes) == 1 and "LPS mm" in notes[0]
    centers = voxel_centers_lps(fixed.grid).reshape(-1, 3)
    expected = through(sitk.DisplacementFieldTransform(itk), centers)
    assert np.allclose(fixed_to_moving(found, centers), expected, atol=1e-3)
    assert np.abs(expected - centers).max() > 2


def write_nifti(path, vectors_lps_mm, grid, intent=1007, name="", oriented=True, shifted_mm=0.0):
    """Write (K, J, I, 3) vectors in the layout of ITK, by nibabel."""
    vectors = np.asarray(vectors_lps_mm, np.float32).transpose(2, 1, 0, 3)[:, :, :, None]
    file = nib.Nifti1Image(vectors, None)
    file.header.set_intent(intent, name=name, allow_unknown=True)
    if oriented:
        ras = TO_RAS @ grid.ijk_to_lps
        file.header.set_sform(ras, 1)
        ras[0, 3] += shifted_mm
        file.header.set_qform(ras, 1)
    nib.save(file, path)
    return path


def test_displacements_that_the_header_calls_so_are_ras(tmp_path):
    vectors = smooth_field(FIXED.grid).displacement_lps_mm
    write_nifti(tmp_path / "a.nii", vectors * np.float32([-1, -1, 1]), FIXED.grid, 1006)
    found, notes = read_initial(tmp_path / "a.nii", FIXED, MOVING)
    assert np.allclose(found.field.displacement_lps_mm, vectors) and "RAS mm" in notes[0]
    if sitk.Version_MajorVersion() * 100 + sitk.Version_MinorVersion() >= 205:  # it does the same, by ITK 5.4
        assert np.allclose(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii"))), vectors)


@pytest.mark.parametrize(
    "words, more",
    [
        ("intent 0", {"intent": 0}),
        ("NiftyReg", {"name": "NREG_TRANS"}),
        ("qform and sform disagree", {"shifted_mm": 2.0}),
        ("no orientation", {"oriented": False}),
    ],
)
def test_vectors_of_other_conventions_are_refused(tmp_path, words, more):
    refused(write_nifti(tmp_path / "a.nii.gz", smooth_field(FIXED.grid).displacement_lps_mm, FIXED.grid, **more), words)


def test_a_field_in_another_unit_than_mm_is_refused(tmp_path):
    write_nifti(tmp_path / "field.nii", smooth_field(FIXED.grid).displacement_lps_mm, FIXED.grid)
    field = nib.load(tmp_path / "field.nii")
    field.header.set_xyzt_units("micron")
    nib.save(field, tmp_path / "microns.nii")
    refused(tmp_path / "microns.nii", "its header gives its geometry in microns")


def test_images_without_vectors_in_their_voxels_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 3), np.float32), np.eye(4)), tmp_path / "fsl.nii.gz")
    refused(tmp_path / "fsl.nii.gz", r"6 x 5 x 4 x 3.*vector image, in LPS mm")
    sitk.WriteImage(sitk.Image(6, 5, 4, sitk.sitkFloat32), str(tmp_path / "scalar.nrrd"))
    refused(tmp_path / "scalar.nrrd", "3 dimensions and 1 values in each voxel")


def test_a_field_with_values_that_are_not_finite_is_refused(tmp_path):
    vectors = smooth_field(FIXED.grid).displacement_lps_mm.copy()
    vectors[3, 4, 5, 1] = np.nan
    refused(write_nifti(tmp_path / "a.nii", vectors, FIXED.grid), "not finite numbers")


def test_a_field_beside_the_fixed_image_is_refused(tmp_path):
    far = make_grid((8, 8, 8), (4.0, 4.0, 4.0), LPS, (500.0, 0.0, 0.0))
    sitk.WriteImage(displacement(far), str(tmp_path / "a.mha"))
    refused(tmp_path / "a.mha", "lies beside the fixed image")


def test_a_field_whose_voxels_lie_outside_its_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    sitk.WriteImage(displacement(FIXED.grid), str(tmp_path / "in" / "a.mhd"))
    (tmp_path / "in" / "a.raw").rename(tmp_path / "a.raw")
    text = (tmp_path / "in" / "a.mhd").read_text().replace("= a.raw", "= ../a.raw")
    (tmp_path / "in" / "a.mhd").write_text(text)
    refused(tmp_path / "in" / "a.mhd", "outside its folder")


def test_a_nifti_field_is_refused_where_its_reader_is_missing(tmp_path, monkeypatch):
    write_nifti(tmp_path / "a.nii", smooth_field(FIXED.grid).displacement_lps_mm, FIXED.grid)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    refused(tmp_path / "a.nii", "without the package nibabel. Save it as .nrrd")


def test_a_field_for_which_there_is_no_memory_is_refused(tmp_path, monkeypatch):
    sitk.WriteImage(displacement(FIXED.grid), str(tmp_path / "a.mha"))
    write_nifti(tmp_path / "a.nii", smooth_field(FIXED.grid).displacement_lps_mm, FIXED.grid)
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 1000)
    for name in ("a.mha", "a.nii"):
        refused(tmp_path / name, "close other programs")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_a_field_that_is_cut_short_is_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    sitk.WriteImage(displacement(FIXED.grid), str(path))
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "Copy or export it again")


# ------------------------------------------------------------------ FreeSurfer's .lta


def vox_to_ras(grid):
    return TO_RAS @ grid.ijk_to_lps


def volume(name, grid, valid=1):
    """Return a geometry as FreeSurfer describes it: nibabel's header of its own format computes the numbers."""
    header = nib.MGHImage(np.zeros(grid.size_ijk, np.uint8), vox_to_ras(grid)).header
    rows = [f"valid = {valid}  # volume info", f"filename = /data/{name}.mgz", f"volume = {header['dims'][:3]}"]
    rows.append(f"voxelsize = {header['delta']}")
    rows += [f"{axis}ras   = {column}" for axis, column in zip("xyz", header["Mdc"])]
    rows.append(f"cras   = {header['Pxyz_c']}")
    return f"{name} volume info\n" + "\n".join(rows).replace("[", "").replace("]", "") + "\n"


def write_lta(path, matrix, source, destination, kind=1, count=1, valid=(1, 1), decimals=12):
    rows = "\n".join(" ".join(f"{value:.15e}" for value in row) for row in matrix)
    with np.printoptions(precision=decimals, suppress=True):
        path.write_text(
            f"# transform file {path}\n# created by somebody\n\ntype      = {kind} # LINEAR\nnxforms   = {count}\n"
            f"mean      = 0.0 0.0 0.0\nsigma     = 1.0\n1 4 4\n{rows}\n"
            f"{volume('src', source, valid[0])}{volume('dst', destination, valid[1])}subject bert\nfscale 0.15\n"
        )
    return path


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("way", ["moving to fixed", "fixed to moving"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_an_lta_leads_from_its_source_to_its_destination(tmp_path, name, way, kind):
    """By hand: a point of the source's voxels, moved as the matrix says, and where both lie in RAS."""
    fixed, moving = (image(make_grid(*geometry)) for geometry in GEOMETRIES[name])
    source, destination = (moving, fixed) if way == "moving to fixed" else (fixed, moving)
    ras_to_ras = TO_RAS @ AFFINE @ TO_RAS
    vox_to_vox = np.linalg.inv(vox_to_ras(destination.grid)) @ ras_to_ras @ vox_to_ras(source.grid)
    write_lta(tmp_path / "a.lta", (vox_to_vox, ras_to_ras)[kind], source.grid, destination.grid, kind)
    found, notes = read_initial(tmp_path / "a.lta", fixed, moving)

    of_source = np.array([[2.0, 3.0, 4.0], [20.0, 9.0, 15.0], [11.5, 20.25, 3.0]])
    homogeneous = np.c_[of_source, np.ones(3)].T
    if kind == 0:
        ras = vox_to_ras(destination.grid) @ (vox_to_vox @ homogeneous)
    else:
        ras = ras_to_ras @ (vox_to_ras(source.grid) @ homogeneous)
    starts, ends = ((TO_RAS @ points).T[:, :3] for points in (vox_to_ras(source.grid) @ homogeneous, ras))
    from_fixed, to_moving = (ends, starts) if way == "moving to fixed" else (starts, ends)
    assert found.field is None
    assert np.allclose(fixed_to_moving(found, from_fixed), to_moving, atol=2e-3)
    assert np.linalg.norm(from_fixed - to_moving, axis=1).min() > 0.5
    assert len(notes) == 1 and ("inverted" in notes[0]) == (way == "moving to fixed")


def test_the_source_of_an_lta_may_be_another_image_and_this_is_said(tmp_path):
    other = make_grid((9, 9, 9), (6.0, 6.0, 6.0), LPS)
    write_lta(tmp_path / "a.lta", TO_RAS @ AFFINE @ TO_RAS, other, FIXED.grid)
    found, notes = read_initial(tmp_path / "a.lta", FIXED, MOVING)
    assert np.allclose(found.linear_lps, np.linalg.inv(AFFINE))
    assert "inverted" in notes[0] and "not that of the moving image" in notes[1]


def test_an_lta_with_four_decimals_fits_the_images_for_which_it_was_made(tmp_path):
    fixed, moving = (image(make_grid((256, 240, 200), (1, 1, 1.1), turn)) for turn in (OBLIQUE, rotation([3, 4, 5])))
    write_lta(tmp_path / "a.lta", TO_RAS @ AFFINE @ TO_RAS, moving.grid, fixed.grid, decimals=4)
    found, notes = read_initial(tmp_path / "a.lta", fixed, moving)
    assert np.allclose(found.linear_lps, np.linalg.inv(AFFINE))
    assert len(notes) == 1 and "inverted" in notes[0]


def test_an_lta_between_equal_geometries_is_taken_to_end_in_the_fixed_image(tmp_path):
    write_lta(tmp_path / "a.lta", TO_RAS @ AFFINE @ TO_RAS, FIXED.grid, FIXED.grid)
    found, notes = read_initial(tmp_path / "a.lta", FIXED, image(FIXED.grid))
    assert np.allclose(found.linear_lps, np.linalg.inv(AFFINE))
    assert len(notes) == 1 and "same geometry" in notes[0]


OTHER = make_grid((14, 16, 11), (4.0, 3.5, 5.2), OBLIQUE)
TWICE = np.diag([2.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "words, source, destination, more",
    [
        ("neither its source .* lta_convert", OTHER, MOVING.grid, {}),
        ("neither its source", FIXED.grid, MOVING.grid, {"valid": (0, 0)}),
        ("or they are not given", MOVING.grid, FIXED.grid, {"valid": (0, 1), "kind": 0}),
        ("1 transforms of type 14.*lta_convert", MOVING.grid, FIXED.grid, {"kind": 14}),
        ("2 transforms of type 1", MOVING.grid, FIXED.grid, {"count": 2}),
    ],
)
def test_an_lta_that_does_not_fit_is_refused(tmp_path, words, source, destination, more):
    refused(write_lta(tmp_path / "a.lta", np.eye(4), source, destination, **more), words)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("1 4 4\n", "", "'1 4 4' is missing"),
        ("dst volume info", "more volume info", "'dst volume info' is missing"),
        ("nxforms", "forms", "nxforms is missing"),
        ("type      = 1", "type      = one", "may be damaged"),
        ("1.000000000000000e+00", "", "4 x 4 numbers|inhomogeneous"),
        ("1.000000000000000e+00\nsrc", "2.0\nsrc", "last row is not 0 0 0 1"),
        ("voxelsize = 4", "voxelsize = 0", "cannot be used: its axis directions are invalid"),
    ],
)
def test_a_damaged_lta_is_refused(tmp_path, old, new, words):
    path = write_lta(tmp_path / "a.lta", np.eye(4), MOVING.grid, FIXED.grid)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    refused(path, words)


# ------------------------------------------------------------------ FLIRT's .mat


def of_flirt(grid, ijk):
    """By hand: voxels times their size; the first index from the other end unless the file is radiological (LAS)."""
    i, j, k = ijk.T
    dx, dy, dz = np.linalg.norm(grid.ijk_to_lps[:3, :3], axis=0)
    across = np.linalg.det(vox_to_ras(grid)[:3, :3])
    return np.stack([(grid.size_ijk[0] - 1 - i) * dx if across > 0 else i * dx, j * dy, k * dz], axis=1)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_matrix_of_flirt_leads_from_moving_to_fixed(tmp_path, name):
    fixed, moving = (image(make_grid(*geometry)) for geometry in GEOMETRIES[name])
    handedness = [np.linalg.det(grid.grid.direction) > 0 for grid in (fixed, moving)]
    assert name != "RAS-LAS" or handedness == [True, False]
    middles = [of_flirt(one.grid, (np.array(one.grid.size_ijk)[None] - 1) / 2)[0] for one in (fixed, moving)]
    matrix = np.eye(4)
    matrix[:3, :3] = AFFINE[:3, :3]
    matrix[:3, 3] = middles[0] + [3, -2, 4] - matrix[:3, :3] @ middles[1]
    text = "\n".join("  ".join(f"{value:.10f}" for value in row) + "  " for row in matrix)
    (tmp_path / "a.mat").write_text(text + "\n")
    found, notes = read_initial(tmp_path / "a.mat", fixed, moving)

    of_fixed, of_moving = (np.random.default_rng(n).uniform(2, 20, (6, 3)) for n in (0, 1))
    assert np.allclose(
        of_flirt(fixed.grid, flirt_voxels(fixed.grid, of_flirt(fixed.grid, of_fixed))), of_flirt(fixed.grid, of_fixed)
    )
    arrived = apply_matrix(matrix, of_flirt(moving.grid, of_moving))
    from_fixed = apply_matrix(fixed.grid.ijk_to_lps, flirt_voxels(fixed.grid, arrived))
    assert found.field is None
    assert np.allclose(fixed_to_moving(found, from_fixed), apply_matrix(moving.grid.ijk_to_lps, of_moving), atol=1e-6)
    assert len(notes) == 1 and "-in and the fixed one as -ref" in notes[0]


def flirt_voxels(grid, points):
    """The voxels at which FLIRT's coordinates lie: the other way round than :func:`of_flirt`."""
    ijk = points / np.linalg.norm(grid.ijk_to_lps[:3, :3], axis=0)
    if np.linalg.det(vox_to_ras(grid)[:3, :3]) > 0:
        ijk[:, 0] = grid.size_ijk[0] - 1 - ijk[:, 0]
    return ijk


@pytest.mark.parametrize(
    "rows, words",
    [
        ("1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "changes volumes by a factor of 0"),
        ("1 0 0 0\n0 1 0 0\n0 0 nan 0\n0 0 0 1\n", "not finite numbers"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 2\n", "last row is not 0 0 0 1"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", "is damaged, or not in a supported format"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 x\n0 0 0 1\n", "is damaged, or not in a supported format"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 900\n0 0 0 1\n", "moves the images apart"),
    ],
)
def test_other_texts_than_an_affine_matrix_are_refused(tmp_path, rows, words):
    (tmp_path / "a.mat").write_text(rows)
    refused(tmp_path / "a.mat", words)


def test_a_bare_matrix_of_nobody_knows_what_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    refused(tmp_path / "a.txt", "bare matrix.*name it .mat")


# ------------------------------------------------------------------ what cannot be used


def test_what_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.h5", "does not exist.*Check the path")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "not a file")


@pytest.mark.parametrize("name", ["a.xfm", "a", "a.tfm", "a.txt", "a.mat", "a.h5", "a.hdf5"])
@pytest.mark.parametrize("content", [b"", b'(Transform "EulerTransform")\n', bytes(range(256)) * 4])
def test_unknown_formats_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "is damaged, or not in a supported format. Give a transform of ITK")


@pytest.mark.parametrize(
    "ending, kept", [("h5", 3000), ("mat", 90), ("mat", 160), ("mat", -4), ("tfm", 75), ("tfm", 110), ("tfm", -4)]
)
def test_damaged_transforms_are_refused(tmp_path, ending, kept):
    path = tmp_path / f"a.{ending}"
    sitk.WriteTransform(affine(), str(path))
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "(is cut short|cannot be read; it may be damaged .*). Copy or export it again")


def test_several_transforms_that_are_not_joined_are_refused(tmp_path):
    for ending in ("h5", "tfm"):
        sitk.WriteTransform(sitk.CompositeTransform([affine(), affine()]), str(tmp_path / f"a.{ending}"))
        assert read_initial(tmp_path / f"a.{ending}", FIXED, MOVING)[0].field is None
    lines = (tmp_path / "a.tfm").read_text().splitlines()
    text = "\n".join(lines[:1] + ["#Transform 0"] + lines[4:] + [""])
    assert "Composite" not in text and text.count("AffineTransform") == 2
    (tmp_path / "b.tfm").write_text(text)
    refused(tmp_path / "b.tfm", "holds 2 transforms that are not joined")


def test_an_empty_composite_is_refused(tmp_path):
    (tmp_path / "a.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: CompositeTransform_double_3_3\n"
    )
    refused(tmp_path / "a.tfm", "holds no transform")


def test_transforms_of_other_dimensions_than_the_images_are_refused(tmp_path):
    sitk.WriteTransform(LINEAR["Euler2D"], str(tmp_path / "two.tfm"))
    sitk.WriteTransform(LINEAR["Euler3D"], str(tmp_path / "three.tfm"))
    sitk.WriteImage(displacement(FLAT_FIXED.grid, 2), str(tmp_path / "two.nii"))
    sitk.WriteImage(displacement(FIXED.grid), str(tmp_path / "three.nii"))
    write_lta(tmp_path / "three.lta", np.eye(4), MOVING.grid, FIXED.grid)
    (tmp_path / "three.mat").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    for name in ("two.tfm", "two.nii"):
        refused(tmp_path / name, "is 2D, but the images are 3D. Give a 3D transform")
    for name in ("three.tfm", "three.nii", "three.lta", "three.mat"):
        refused(tmp_path / name, "is 3D, but the images are 2D. Give a 2D transform", FLAT_FIXED, FLAT_MOVING)


@pytest.mark.parametrize(
    "itk, words",
    [
        (sitk.ScaleTransform(3, (1e-4, 1, 1)), "changes volumes by a factor of 0.0001"),
        (sitk.ScaleTransform(3, (11, 11, 11)), "changes volumes by a factor of 1.33e"),
        (sitk.AffineTransform([1.0, 0, 0, 0, 1, 0, 0, 0, 0], [0.0] * 3), "changes volumes by a factor of 0,"),
        (sitk.TranslationTransform(3, (0, float("nan"), 0)), "not finite numbers"),
        (sitk.TranslationTransform(3, (0, 0, 300)), "moves the images apart.*moving to fixed"),
    ],
)
def test_transforms_that_no_alignment_has_are_refused(tmp_path, itk, words):
    sitk.WriteTransform(itk, str(tmp_path / "a.h5"))
    refused(tmp_path / "a.h5", words)


def test_a_field_that_moves_the_images_apart_is_refused(tmp_path):
    vectors = np.full((*FIXED.grid.shape_kji, 3), 200, np.float32)
    refused(write_nifti(tmp_path / "a.nii", vectors, FIXED.grid), "moves the images apart")


def test_images_that_only_touch_are_not_apart(tmp_path):
    """A thin moving image between two of the points that are looked at, and one whose edge is reached."""
    fixed, thin = image(make_grid((90, 90, 90), (1.0, 1.0, 1.0), LPS)), image(make_grid((90, 90, 1), (1, 1, 0.2), LPS))
    sitk.WriteTransform(sitk.TranslationTransform(3, (0, 0, 0)), str(tmp_path / "a.tfm"))
    assert np.allclose(read_initial(tmp_path / "a.tfm", fixed, thin)[0].linear_lps, np.eye(4))
    sitk.WriteTransform(sitk.TranslationTransform(3, (0, 0, 89)), str(tmp_path / "b.tfm"))
    assert read_initial(tmp_path / "b.tfm", fixed, fixed)[0].linear_lps[2, 3] == 89
    sitk.WriteTransform(sitk.TranslationTransform(3, (0, 0, 95)), str(tmp_path / "c.tfm"))
    refused(tmp_path / "c.tfm", "moves the images apart", fixed, fixed)
