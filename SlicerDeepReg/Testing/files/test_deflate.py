"""What is compressed is read by those who know the formats, with ISA-L and without it."""

import gzip
import importlib
import sys
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from SlicerDeepRegLib.files import deflate
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.types import Grid, Image

DATA = np.random.default_rng(0).normal(size=5000).astype(np.float32).tobytes() + bytes(100_000)


@pytest.fixture(params=["isal", "zlib"])
def packer(request, monkeypatch):
    """The module as it is with the package isal, and as it is where that is missing."""
    if request.param == "isal":
        assert deflate.isal_zlib is not None, "The extra 'fast' is not installed."
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    yield importlib.reload(deflate)
    monkeypatch.undo()
    importlib.reload(deflate)


def test_what_is_packed_is_the_same_when_unpacked(packer):
    assert zlib.decompress(packer.deflated(DATA)) == DATA
    assert gzip.decompress(packer.gzipped(DATA)) == DATA
    assert len(packer.deflated(DATA)) < len(DATA) / 4


def test_a_packed_file_takes_the_place_of_the_other_and_holds_no_name_or_date(packer, tmp_path):
    (tmp_path / "secret").write_bytes(DATA)
    packer.gzip_file(tmp_path / "secret", tmp_path / "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    head = (tmp_path / "packed").read_bytes()
    assert gzip.decompress(head) == DATA
    assert head[3] == 0 and head[4:8] == bytes(4), "flags: a name; or a date"


def test_an_image_is_written_and_nothing_beside_it(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    write_image(Image(values, Grid((6, 5, 4), np.diag([-1.0, 2, 3, 1])), "x"), tmp_path / "x.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.nii.gz"]
    read = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), values)
    assert read.GetSpacing() == (1, 2, 3)
