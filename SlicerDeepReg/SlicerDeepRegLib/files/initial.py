"""The transform that a registration shall start from, as other programs write it.

ITK's transforms and displacement fields lead from fixed to moving points, LPS mm, as ours do. FreeSurfer's .lta leads
from its source to its destination (https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/LtaFormat), FLIRT's matrix from
moving to fixed points in coordinates of its own (Jenkinson et al. 2002, doi:10.1006/nimg.2002.1132).
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry.grids import sampled, triple, with_axes_of
from ..geometry.points import apply_matrix, fixed_to_moving, voxel_centers_lps
from ..processes.memory import check_room
from ..types import Field, GeometryError, Grid, Image, InputError, Transform
from . import nifti
from .detached import outside_of
from .headers import header_fault_of, unit_of
from .images import announced_bytes, check_memory_ran_out, from_sitk
from .transforms import to_sitk_transform
from .units import in_plural

CONTROL = "initial"
_FORMATS = (
    "a transform of ITK (.h5, .hdf5, .tfm, .txt, .mat), a displacement field as ITK and ANTs write it (.nii, .nii.gz, "
    ".nrrd, .mha, .mhd), FreeSurfer's .lta, or FLIRT's .mat"
)
_FIELD_READERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
#: How ITK's files begin by their endings; the Matlab file's first numbers come before the name of the transform.
_ITK_TEXT, _ITK_HDF5 = re.compile(rb"#Insight Transform File"), re.compile(rb"\x89HDF\r\n\x1a\n")
_ITK_MATLAB = re.compile(rb".{20}\w*Transform\w*_(double|float)_\d_\d\0", re.DOTALL)
_ITK_HEADS = {".tfm": _ITK_TEXT, ".txt": _ITK_TEXT, ".mat": _ITK_MATLAB, ".h5": _ITK_HDF5, ".hdf5": _ITK_HDF5}
#: The name of a transform's type in any of them.
_ITK_TYPE = re.compile(rb"Transform\w*_(?:double|float)_\d_\d")
#: NIfTI's codes for vectors: as ITK writes them, in LPS; and displacements, which newer versions of ITK keep in RAS.
_VECTOR, _DISPLACEMENT = 1007, 1006
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: A volume changes by a factor between these, or the matrix is none that an alignment has.
_LEAST_FACTOR, _MOST_FACTOR = 1e-3, 1e3
#: Geometries agree if no corner is farther apart: older files have four decimals.
_SAME_MM = 0.1
#: Two grids have the same directions if no component of a unit vector differs by more.
_SAME_DIRECTION = 1e-5
#: At about how many points it is looked where the fixed image comes to lie.
_LOOKED_AT = 30_000
#: More bytes than a text with a matrix has.
_TEXT_BYTES = 1 << 16

_Found = tuple[Transform, tuple[str, ...]]


def read_initial(path: str | Path, fixed: Image, moving: Image) -> tuple[Transform, tuple[str, ...]]:
    """Read the transform that a registration shall start from.

    Linear ones become a matrix. All others become a displacement field beside the identity: a field alone stays on its
    own grid if that has the directions of the fixed one and covers it; what else there is is taken at the fixed voxels.

    Args:
        path: a transform of ITK (.h5, .hdf5, .tfm, .txt, .mat), a displacement field as ITK and ANTs write it (.nii,
            .nii.gz, .nrrd, .mha, .mhd), FreeSurfer's .lta, or FLIRT's .mat.
        fixed, moving: the images between which it leads; FLIRT's matrices mean nothing without their grids.

    Returns:
        ``T``, from fixed to moving points, LPS mm, without the way back of a field; and sentences about what was
        assumed.

    Raises:
        InputError: it does not exist, cannot be read, is in another format or of other dimensions than the images, is
            singular or not finite, belongs to other images, or moves the images apart. Its control is "initial".
    """
    path = Path(path)
    if not path.is_file():
        raise _refusal(path, "does not exist, or is not a file. Check the path.")
    try:
        transform, notes = _reader_of(path)(path, fixed, moving)
    except GeometryError as error:
        raise _refusal(path, f"cannot be used: {error}") from error
    except InputError as error:
        if error.control == CONTROL:
            raise
        raise InputError(str(error), CONTROL) from error
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise _unreadable(path, error) from error
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise _unreadable(path, error) from error
    _check_matrix(path, transform.linear_lps)
    if transform.field is not None and not np.isfinite(transform.field.displacement_lps_mm).all():
        raise _refusal(path, "has displacements that are not finite numbers. Export it again, or start without it.")
    _check_together(path, transform, fixed, moving)
    if np.linalg.det(transform.linear_lps[:3, :3]) < 0:
        notes += (f"The initial transform {path.name} mirrors: it turns left into right. Check that this is meant.",)
    return transform, notes


def _refusal(path: Path, what: str) -> InputError:
    return InputError(f"The initial transform {path} {what}", CONTROL)


def _unreadable(path: Path, error: Exception) -> InputError:
    why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    last_line = (why.strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
    return _refusal(path, f"cannot be read; it may be damaged ({last_line}). Copy or export it again.")


def _reader_of(path: Path) -> Callable[[Path, Image, Image], _Found]:
    """Return what reads the file, by its ending, and by its content where several formats share one."""
    ending = path.suffix.lower()
    if nifti.is_nifti(path) or ending in _FIELD_READERS:
        return _from_image
    if ending == ".lta":
        return _from_lta
    with open(path, "rb") as stream:
        head = stream.read(1000)
    if ending in _ITK_HEADS and _ITK_HEADS[ending].match(head):
        return _from_itk
    if ending == ".mat" and _is_bare_matrix(path):
        return _from_flirt
    if ending == ".txt" and _is_bare_matrix(path):
        raise _refusal(
            path,
            "is a bare matrix, which does not say between what coordinates it leads. If FLIRT wrote it, name it .mat; "
            "otherwise convert it to ITK's format (.tfm).",
        )
    raise _refusal(path, f"is damaged, or not in a supported format. Give {_FORMATS}.")


def _check_dimensions(path: Path, dimensions: int, fixed: Image, moving: Image) -> None:
    needed = 2 if fixed.dimensions == moving.dimensions == 2 else 3
    if dimensions != needed:
        raise _refusal(
            path, f"is {dimensions}D, but the images are {needed}D. Give a {needed}D transform, or start without one."
        )


def _check_matrix(path: Path, matrix: np.ndarray) -> None:
    """Check a (4, 4) matrix between points in mm."""
    if not np.isfinite(matrix).all():
        raise _refusal(path, "has values that are not finite numbers. Export it again, or start without it.")
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise _refusal(path, "has a matrix whose last row is not 0 0 0 1. Export it again as an affine transform.")
    factor = float(np.linalg.det(matrix[:3, :3]))
    if not _LEAST_FACTOR <= abs(factor) <= _MOST_FACTOR:
        raise _refusal(
            path,
            f"changes volumes by a factor of {factor:.3g}, which no alignment does. Check that it belongs to these "
            "images and is in mm, or start without it.",
        )


def _check_together(path: Path, transform: Transform, fixed: Image, moving: Image) -> None:
    """Check that a part of the fixed grid's box comes to lie in that of the moving grid."""
    lattice = sampled(fixed.grid, _LOOKED_AT)
    points = fixed_to_moving(transform, voxel_centers_lps(lattice).reshape(-1, 3))
    ijk = apply_matrix(moving.grid.lps_to_ijk, points)
    # Each point stands for the cell around it: a thin moving image may lie between two points.
    cell = moving.grid.lps_to_ijk[:3, :3] @ transform.linear_lps[:3, :3] @ lattice.ijk_to_lps[:3, :3]
    reach = 0.5 + 0.5 * np.abs(cell).sum(axis=1)
    inside = (ijk >= -reach) & (ijk <= np.array(moving.grid.size_ijk) - 1 + reach)
    if not inside.all(axis=1).any():
        raise _refusal(
            path,
            "moves the images apart: after it they have no place in common. It may lead the other way (moving to "
            "fixed), or belong to other images; give one that leads from fixed to moving points, or start without it.",
        )


# ------------------------------------------------------------------ ITK's transforms


def _from_itk(path: Path, fixed: Image, moving: Image) -> _Found:
    _check_content(path)
    transform = sitk.ReadTransform(str(path))
    dimensions = transform.GetDimension()
    _check_dimensions(path, dimensions, fixed, moving)
    parts = _parts(transform)
    if not parts:
        raise _refusal(path, "is a composite that holds no transform. Export it again.")
    if transform.IsLinear():
        return Transform(_matrix_of(transform)), ()
    if len(parts) == 1 and parts[0].GetName() == "DisplacementFieldTransform":
        field = _field_of(sitk.DisplacementFieldTransform(parts[0]).GetDisplacementField())
        return _fitted(path, field, dimensions, fixed.grid)
    note = f"The initial transform {path.name} is not linear; its displacements were taken at the fixed voxels."
    return Transform(np.eye(4), _sampled(transform, fixed.grid)), (note,)


def _check_content(path: Path) -> None:
    """Check what SimpleITK does not say: it fills up what was cut off, and reads the first of several transforms."""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        count, is_composite = sum(1 for _ in _ITK_TYPE.finditer(content)), content.find(b"CompositeTransform") >= 0
        whole = _is_whole(path.suffix.lower(), content, count - is_composite)
    if not whole:
        raise _refusal(path, "is cut short. Copy or export it again.")
    if count > 1 and not is_composite:
        raise _refusal(
            path, f"holds {count} transforms that are not joined to one. Save them as one composite transform."
        )


def _is_whole(ending: str, content: mmap.mmap, count: int) -> bool:
    """Return whether so many transforms are there to their ends; of HDF5 its own library says so."""
    if _ITK_HEADS[ending] is _ITK_TEXT:
        return sum(1 for _ in re.finditer(rb"(?m)^FixedParameters:", content)) == count
    return _ITK_HEADS[ending] is not _ITK_MATLAB or _matlab_end(content) == len(content)


def _matlab_end(content: mmap.mmap) -> int:
    """Return where the last matrix of a Matlab file (level 4) ends, by their headers; beyond the file if it is cut.

    Each begins with its type, its rows and columns, whether it has imaginary parts, and the length of its name.
    """
    end, order = 0, "<" if 0 <= struct.unpack_from("<i", content)[0] < 1000 else ">"
    while end < len(content):
        if end + 20 > len(content):
            return end + 20
        kind, rows, columns, imaginary, name = struct.unpack_from(f"{order}5I", content, end)
        end += 20 + name + rows * columns * (2 if imaginary else 1) * (4 if kind // 10 % 10 == 1 else 8)
    return end


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """Return what a composite consists of; one within another cannot be written."""
    if transform.GetName() != "CompositeTransform":
        return [transform]
    composite = sitk.CompositeTransform(transform)
    return [composite.GetNthTransform(n) for n in range(composite.GetNumberOfTransforms())]


def _matrix_of(transform: sitk.Transform) -> np.ndarray:
    """Return the (4, 4) LPS matrix of a linear transform; of a 2D one in the plane z = 0."""
    n = transform.GetDimension()
    origin = np.array(transform.TransformPoint([0.0] * n))
    matrix = np.eye(4)
    matrix[:n, :n] = np.stack([np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(n).tolist()], 1)
    matrix[:n, 3] = origin
    return matrix


def _sampled(transform: sitk.Transform, grid: Grid) -> Field:
    """Return the displacements of a transform at the voxels of a grid."""
    n = transform.GetDimension()
    vectors = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        grid.size_ijk[:n],
        grid.origin_lps_mm[:n].tolist(),
        grid.spacing_mm[:n].tolist(),
        grid.direction[:n, :n].ravel().tolist(),
    )
    return _field(sitk.GetArrayFromImage(vectors), grid)


def _field_of(vectors: sitk.Image) -> Field:
    return _field(sitk.GetArrayFromImage(vectors), from_sitk(sitk.VectorIndexSelectionCast(vectors, 0), "").grid)


def _field(vectors_lps_mm: np.ndarray, grid: Grid) -> Field:
    """Return the field of (..., 2) or (..., 3) displacements; those of a plane do not leave it."""
    displacement = np.zeros((*grid.shape_kji, 3), np.float32)
    displacement[..., : vectors_lps_mm.shape[-1]] = vectors_lps_mm.reshape(*grid.shape_kji, -1)
    return Field(displacement, grid)


def _fitted(path: Path, field: Field, dimensions: int, fixed: Grid) -> _Found:
    """Return the transform of a field, on the fixed grid unless its own has the same directions and covers that."""
    size = np.array(field.grid.size_ijk)
    ijk = apply_matrix(field.grid.lps_to_ijk, voxel_centers_lps(sampled(fixed, _LOOKED_AT)).reshape(-1, 3))
    covered = ((ijk >= -0.501) & (ijk <= size - 0.499)).all(axis=1)
    if not covered.any():
        raise _refusal(
            path, "is a displacement field that lies beside the fixed image. Give one that belongs to these images."
        )
    turned = with_axes_of(field, fixed)
    if covered.all() and np.abs(turned.grid.direction - fixed.direction).max() <= _SAME_DIRECTION:
        return Transform(np.eye(4), turned), ()
    notes = () if covered.all() else (f"Outside the initial displacement field {path.name} nothing was displaced.",)
    return Transform(np.eye(4), _sampled(to_sitk_transform(Transform(np.eye(4), field), dimensions), fixed)), notes


# ------------------------------------------------------------------ displacement fields as images


def _from_image(path: Path, fixed: Image, moving: Image) -> _Found:
    if outside_of(path) is not None:
        raise _refusal(
            path, "names a data file outside its folder. Copy that file beside the header, or save both as one (.mha)."
        )
    fault = nifti.fault_of(path) if nifti.is_nifti(path) else header_fault_of(path)
    if fault:
        raise _refusal(path, f"cannot be read: {fault}. Copy or export it again.")
    field, dimensions, space = _read_nifti(path) if nifti.is_nifti(path) else _read_vectors(path)
    _check_dimensions(path, dimensions, fixed, moving)
    transform, notes = _fitted(path, field, dimensions, fixed.grid)
    note = f"The vectors of {path.name} were taken as displacements from fixed to moving points in {space} mm."
    return transform, (note, *notes)


def _no_field(path: Path, what: str) -> InputError:
    return _refusal(
        path, f"is no displacement field as ITK and ANTs write it: {what}. Save it as a vector image, in LPS mm."
    )


def _check_unit(path: Path, unit: str) -> None:
    """Refuse a geometry in another unit than mm: whether the vectors are in it, too, nobody can say."""
    if unit != "mm":
        raise _no_field(path, f"its header gives its geometry in {in_plural(unit)}")


def _read_vectors(path: Path) -> tuple[Field, int, str]:
    """Return the field of a NRRD or MetaImage, its dimensions, and the space of its vectors."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_FIELD_READERS[path.suffix.lower()])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimensions, components = reader.GetDimension(), reader.GetNumberOfComponents()
    if dimensions not in (2, 3) or components != dimensions:
        raise _no_field(path, f"it has {dimensions} dimensions and {components} values in each voxel")
    _check_unit(path, unit_of(path))
    check_room(announced_bytes(reader), f"initial transform {path}")
    return _field_of(reader.Execute()), dimensions, "LPS"


def _read_nifti(path: Path) -> tuple[Field, int, str]:
    """Return the field of a NIfTI file, its dimensions, and the space of its vectors.

    ITK itself is not asked: newer versions turn vectors from RAS to LPS where the header calls them displacements.
    """
    try:
        import nibabel
    except ImportError as error:  # Slicer's own process and its worker may lack it
        raise _refusal(path, "cannot be read without the package nibabel. Save it as .nrrd or .mha.") from error
    try:
        file = nibabel.load(path)
        header, shape = file.header, file.shape
        intent, name = int(header["intent_code"]), header.get_intent()[2]
        forms = [header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]]
        unit = nifti.unit_of(header)
    except Exception as error:  # nibabel raises all kinds on damaged files
        raise _unreadable(path, error) from error
    is_field = len(shape) == 5 and shape[3] == 1 and (shape[4] == 3 or shape[2:5] == (1, 1, 2))
    if not is_field or intent not in (_VECTOR, _DISPLACEMENT):
        sides = " x ".join(map(str, shape))
        raise _no_field(path, f"its size is {sides}, with the intent {intent} (I x J x K x 1 x 3, intent 1007 is one)")
    _check_unit(path, unit)
    if name.startswith("NREG"):
        raise _no_field(path, "it is a transform of NiftyReg")
    grid = _grid_of(path, forms, shape)
    check_room(math.prod(shape) * 8, f"initial transform {path}")
    vectors = np.asarray(file.dataobj, np.float32)[:, :, :, 0].transpose(2, 1, 0, 3)
    if intent == _DISPLACEMENT:
        vectors = vectors * np.diag(_RAS_TO_LPS)[: shape[4]].astype(np.float32)
    return _field(vectors, grid), shape[4], "RAS" if intent == _DISPLACEMENT else "LPS"


def _grid_of(path: Path, forms: list[np.ndarray | None], shape: tuple[int, ...]) -> Grid:
    """Return the grid by sform and qform, either of which may be None; that of vectors in a plane at z = 0."""
    grids = [Grid(triple(shape[:3]), _RAS_TO_LPS @ form) for form in forms if form is not None]
    if not grids or not grids[0].same_as(grids[-1], _SAME_MM):
        what = "its qform and sform disagree" if grids else "it has no orientation (neither qform nor sform)"
        raise _no_field(path, what)
    if shape[4] == 3:
        return grids[0]
    matrix = np.eye(4)
    matrix[:2, :2], matrix[:2, 3] = grids[0].ijk_to_lps[:2, :2], grids[0].ijk_to_lps[:2, 3]
    return Grid(grids[0].size_ijk, matrix)


# ------------------------------------------------------------------ FreeSurfer's .lta


def _from_lta(path: Path, fixed: Image, moving: Image) -> _Found:
    _check_dimensions(path, 3, fixed, moving)
    kind, matrix, source, destination = _parsed_lta(path, path.read_text(encoding="utf-8", errors="replace"))
    into, out_of = (grid is not None and grid.same_as(fixed.grid, _SAME_MM) for grid in (destination, source))
    if not (into or out_of) or (kind == 0 and (source is None or destination is None)):
        raise _refusal(
            path,
            "does not fit the images: neither its source (src) nor its destination (dst) has the geometry of the fixed "
            "image, or they are not given. Give one that was made for these images, or set both with FreeSurfer's "
            "lta_convert (--src, --trg).",
        )
    if kind == 0 and source is not None and destination is not None:
        matrix = destination.ijk_to_lps @ matrix @ source.lps_to_ijk
    else:
        matrix = _RAS_TO_LPS @ matrix @ _RAS_TO_LPS
    _check_matrix(path, matrix)
    other = source if into else destination
    return Transform(np.linalg.inv(matrix) if into else matrix), _notes_of_lta(path, into, out_of, other, moving)


def _notes_of_lta(path: Path, into: bool, out_of: bool, other: Grid | None, moving: Image) -> tuple[str, ...]:
    if into and out_of:
        return (
            f"The source and the destination of {path.name} have the same geometry; its destination was taken for the "
            "fixed image.",
        )
    way = "its destination is the fixed image, so it was inverted" if into else "its source is the fixed image"
    note = f"By the geometries in {path.name}, {way}."
    if other is not None and other.same_as(moving.grid, _SAME_MM):
        return (note,)
    return note, f"The other geometry in {path.name} is not that of the moving image; check the start."


def _parsed_lta(path: Path, text: str) -> tuple[int, np.ndarray, Grid | None, Grid | None]:
    """Return the type, the (4, 4) matrix, and the grids of source and destination where they are valid."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    source, destination = (_index_of(f"{name} volume info", lines) for name in ("src", "dst"))
    facts = _facts(lines[:source])
    kind, count = int(facts["type"][0]), int(facts["nxforms"][0])
    if kind not in (0, 1) or count != 1:
        raise _refusal(
            path,
            f"has {count} transforms of type {kind}; one of type 0 (between voxels) or 1 (between RAS) is needed. "
            "Convert it with FreeSurfer's lta_convert.",
        )
    first = _index_of("1 4 4", lines) + 1
    matrix = np.array([[float(word) for word in line.split()] for line in lines[first : first + 4]])
    if matrix.shape != (4, 4):
        raise ValueError("its matrix does not have 4 x 4 numbers")
    return kind, matrix, _grid_of_lta(_facts(lines[source:destination])), _grid_of_lta(_facts(lines[destination:]))


def _index_of(line: str, lines: list[str]) -> int:
    if line not in lines:
        raise ValueError(f"the line '{line}' is missing")
    return lines.index(line)


def _facts(lines: list[str]) -> dict[str, list[str]]:
    """Return what the lines "name = values" say."""
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {name.strip(): values.split() for name, _, values in pairs}


def _grid_of_lta(facts: dict[str, list[str]]) -> Grid | None:
    """Return the grid of a volume geometry; ``cras`` is where voxel (I/2, J/2, K/2) lies, RAS mm."""
    if int(facts["valid"][0]) != 1:
        return None
    size = [int(side) for side in facts["volume"]]
    steps = np.array([facts[name] for name in ("xras", "yras", "zras")], float).T * np.array(facts["voxelsize"], float)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = np.array(facts["cras"], float) - steps @ (np.array(size) / 2)
    return Grid(triple(size), _RAS_TO_LPS @ matrix)


# ------------------------------------------------------------------ FLIRT's .mat


def _from_flirt(path: Path, fixed: Image, moving: Image) -> _Found:
    _check_dimensions(path, 3, fixed, moving)
    fixed_to_lps, moving_to_lps = (
        image.grid.ijk_to_lps @ np.linalg.inv(_ijk_to_fsl(image)) for image in (fixed, moving)
    )
    matrix = fixed_to_lps @ _numbers_in(path) @ np.linalg.inv(moving_to_lps)
    _check_matrix(path, matrix)
    note = (
        f"{path.name} was taken for a matrix of FLIRT, called with the moving image as -in and the fixed one as -ref; "
        "it was inverted."
    )
    return Transform(np.linalg.inv(matrix)), (note,)


def _ijk_to_fsl(image: Image) -> np.ndarray:
    """Return (4, 4) from voxel indices to FSL's mm: scaled by the spacing, x from the other end in a right-handed grid.

    The determinant has the same sign in LPS as in RAS, which differ in two axes. An image without an orientation is
    left-handed (radiological) to FSL.
    """
    grid, spacing_mm = image.grid, image.grid.spacing_mm
    matrix = np.diag([*spacing_mm, 1.0])
    if any(nifti.NO_ORIENTATION in note for note in image.notes):
        return matrix
    if np.linalg.det(grid.ijk_to_lps[:3, :3]) > 0:
        matrix[0, 0], matrix[0, 3] = -spacing_mm[0], (grid.size_ijk[0] - 1) * spacing_mm[0]
    return matrix


def _numbers_in(path: Path) -> np.ndarray:
    """Return the (4, 4) matrix that a text consists of; a ValueError says that it does not."""
    if path.stat().st_size > _TEXT_BYTES:
        raise ValueError("it is longer than a matrix")
    return np.array(path.read_text(encoding="ascii").split(), float).reshape(4, 4)


def _is_bare_matrix(path: Path) -> bool:
    try:
        return bool(_numbers_in(path).size)
    except ValueError:  # also of bytes that are no text
        return False
