"""Segmentations of Slicer: which segment is where, in one layer or several."""

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.types import InputError

GRID = make_grid((6, 5, 4), (1.0, 2.0, 3.0), np.eye(3))


def box(first, last):
    values = np.zeros(GRID.shape_kji, np.uint8)
    values[first:last] = 1
    return values


def test_the_segments_of_one_layer_get_the_numbers_of_their_names(tmp_path):
    layer = 7 * box(0, 1) + 3 * box(2, 4)
    path = write_segmentation(tmp_path / "a.seg.nrrd", GRID, [layer], [("core", 7, 0), ("rim", 3, 0)])
    found = read_segmentation(path, "fixed labels")
    assert found.own_numbers() == {"core": 7, "rim": 3}
    labels = found.labels({"core": 1, "rim": 2})
    assert (labels.values == box(0, 1) + 2 * box(2, 4)).all() and labels.grid.same_as(GRID)
    assert labels.name == "a.seg.nrrd" and labels.files == (path,)


def test_layers_that_do_not_overlap_become_one_label_map(tmp_path):
    layers = [box(0, 1), box(2, 4)]
    path = write_segmentation(tmp_path / "a.seg.nrrd", GRID, layers, [("core", 1, 0), ("rim", 1, 1)])
    found = read_segmentation(path, "fixed labels")
    assert found.own_numbers() is None
    assert (found.labels({"core": 1, "rim": 2}).values == box(0, 1) + 2 * box(2, 4)).all()


def test_segments_that_overlap_are_refused_by_name_but_have_a_union(tmp_path):
    layers = [box(0, 2), box(1, 4)]
    path = write_segmentation(tmp_path / "a.seg.nrrd", GRID, layers, [("core", 1, 0), ("brain", 1, 1)])
    found = read_segmentation(path, "fixed labels")
    with pytest.raises(InputError, match="segments core and brain of a.seg.nrrd overlap.*Move one"):
        found.labels({"core": 1, "brain": 2})
    assert (found.union().values == box(0, 4)).all()


def test_files_of_older_versions_have_a_layer_for_each_segment(tmp_path):
    image = sitk.GetImageFromArray(np.stack([box(0, 1), box(2, 4)], -1), isVector=True)
    for n, name in enumerate(("core", "rim")):
        image.SetMetaData(f"Segment{n}_Name", name)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    found = read_segmentation(tmp_path / "a.seg.nrrd", "fixed labels")
    assert (found.labels({"core": 1, "rim": 2}).values == box(0, 1) + 2 * box(2, 4)).all()


@pytest.mark.parametrize(
    "segments, keys, words",
    [
        ([("core", 1, 2)], {}, "label 1 in layer 2 of 1"),
        ([("core", 0, 0)], {}, "label 0 in layer 0"),
        ([("core", 1, 0)], {"Segment0_LabelValue": "one"}, "wrong header"),
        ([("core", 1, 0)], {"Segmentation_MasterRepresentation": "Fractional labelmap"}, "fractional labelmap"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(tmp_path, segments, keys, words):
    path = write_segmentation(tmp_path / "a.seg.nrrd", GRID, [box(0, 1)], segments, **keys)
    with pytest.raises(InputError, match=f"fixed labels .*a.seg.nrrd.*{words}"):
        read_segmentation(path, "fixed labels")


def test_two_segments_of_one_name_are_refused(tmp_path):
    layer = box(0, 1) + 2 * box(2, 4)
    path = write_segmentation(tmp_path / "a.seg.nrrd", GRID, [layer], [("core", 1, 0), ("core", 2, 0)])
    with pytest.raises(InputError, match="two segments named core"):
        read_segmentation(path, "fixed labels").labels({"core": 1})


def test_other_files_are_none(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(box(0, 1)), str(tmp_path / "a.seg.nrrd"))
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\ntype: what\n\n")
    (tmp_path / "c.nrrd").write_bytes(b"")
    for name in ("a.seg.nrrd", "b.nrrd", "c.nrrd", "d.nrrd", "e.nii"):
        assert read_segmentation(tmp_path / name, "fixed labels") is None


def test_names_that_are_not_text_can_be_written(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, GRID, [box(0, 1)], [("Kern", 1, 0), ("Rand", 2, 0)], Segment9_Name="other")
    path.write_bytes(path.read_bytes().replace(b":=Kern", b":=K\xe9rn").replace(b"Segment9_", b"Segm\xe9nt9_"))
    assert read_segmentation(path, "fixed labels").names == ("K?rn", "Rand")
