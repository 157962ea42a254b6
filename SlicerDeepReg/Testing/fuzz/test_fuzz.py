"""Changed bytes: some of each kind here, 100,000 in the slow set; and the crashes that were found, kept."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.files.points import load_points
from SlicerDeepRegLib.models.torch_files import can_read
from SlicerDeepRegLib.types import InputError
from SlicerDeepRegLib.worker import protocol

pytest.importorskip("resource", reason="limits on memory and time are those of Unix")
from . import dicom_folders, run, targets  # noqa: E402


@pytest.mark.parametrize("name", targets.TARGETS)
def test_some_inputs_of_each_kind_are_read_or_refused_in_words(name):
    assert not run.fuzz(name, 250)


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_hundred_thousand_inputs(name):
    assert not run.fuzz(name, 100_000 // len(targets.TARGETS) + 1, start=1_000_000)


def test_most_examples_are_read_before_they_are_changed(tmp_path):
    """Else nothing behind the first check would ever be reached."""
    for name, (_, read) in targets.TARGETS.items():
        good = 0
        for suffix, data in targets.examples(name, tmp_path):
            path = tmp_path / f"input{suffix}"
            path.write_bytes(data)
            try:
                read(path)
                good += 1
            except InputError as error:
                refused = name == "torch" and not can_read()
                assert refused or name in ("cards", "pairs"), (name, error)  # whose files are not there
            path.unlink(missing_ok=True)
        assert good or name == "pairs" or (name == "torch" and not can_read()), name


BAD_READERS = {
    "another error": "raise KeyError('x')",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "a hang": "import time; time.sleep(60)",
    "memory without end": "bytearray(8 << 30)",
    "a file that is left": "(path.parent / 'left.bin').write_bytes(b'x')",
    "no words": "from SlicerDeepRegLib.types import InputError; raise InputError('no')",
}


@pytest.mark.parametrize("fault", BAD_READERS)
def test_a_bad_reader_is_found(fault, tmp_path):
    """The harness itself: each kind of fault, put into a reader, is a finding."""
    program = (
        "import sys, fuzz.run, fuzz.targets\n"
        f"def read(path):\n    {BAD_READERS[fault]}\n"
        "fuzz.targets.TARGETS['points'] = (fuzz.targets.TARGETS['points'][0], read)\n"
        "fuzz.run.SECONDS = 2\n"
        f"fuzz.run.feed('points', 0, 2, {str(tmp_path / 'in')!r})\n"
    )
    (tmp_path / "in").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode != 0 or "points 0: " in done.stdout


def test_headers_that_ended_the_process_are_refused(tmp_path):
    """Each of them was found by changed bytes; the last made ITK search for a rotation without end."""
    picture = sitk.GetImageFromArray(np.zeros((5, 6, 7), np.float32))
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(picture, str(tmp_path / f"good{suffix}"))
        assert read_image(tmp_path / f"good{suffix}").values.shape == (5, 6, 7)
    data = bytearray((tmp_path / "good.nii").read_bytes())
    data[344:348] = b"\0\0\0\0"
    (tmp_path / "analyze.nii").write_bytes(data)
    with pytest.raises(InputError, match="does not say that it is NIfTI"):
        read_image(tmp_path / "analyze.nii")
    data = bytearray((tmp_path / "good.nii").read_bytes())
    data[280:284] = np.float32(np.inf).tobytes()
    (tmp_path / "nowhere.nii").write_bytes(data)
    with pytest.raises(InputError, match="where its voxels lie"):
        read_image(tmp_path / "nowhere.nii")
    data = (tmp_path / "good.mha").read_bytes()
    for count in (b"-13", b"3999999999999", b"", b"99", b"x"):
        (tmp_path / "many.mha").write_bytes(data.replace(b"NDims = 3", b"NDims = " + count, 1))
        with pytest.raises(InputError, match="number of dimensions"):
            read_image(tmp_path / "many.mha")
    for name in (b"x%nI", b"%s", b"a%03db%d", b"\x07a"):
        (tmp_path / "named.mha").write_bytes(data.replace(b"ElementDataFile = LOCAL", b"ElementDataFile = " + name, 1))
        with pytest.raises(InputError, match="invalid data file"):
            read_image(tmp_path / "named.mha")
    for size in (b"1-10 6 5", b"7 -6 5", b"7 6 5e9"):  # the first was read as billions of voxels
        (tmp_path / "size.mha").write_bytes(data.replace(b"DimSize = 7 6 5", b"DimSize = " + size, 1))
        with pytest.raises(InputError, match="invalid size"):
            read_image(tmp_path / "size.mha")
    (tmp_path / "none.mha").write_bytes(data.replace(b"DimSize = 7 6 5", b"DimSize = 7 0 5", 1))
    with pytest.raises(InputError, match="no voxels"):
        read_image(tmp_path / "none.mha")
    data = (tmp_path / "good.nrrd").read_bytes()
    (tmp_path / "long.nrrd").write_bytes(data.replace(b"\nspace", b"\nspace" + b"[" * 3000, 1))
    with pytest.raises(InputError, match="not a field"):
        read_image(tmp_path / "long.nrrd")
    (tmp_path / "ended.nrrd").write_bytes(data.replace(b"\ntype", b"\n# c\r" + b"[" * 3000 + b"\ntype", 1))
    with pytest.raises(InputError, match="not a field"):
        read_image(tmp_path / "ended.nrrd")
    for packed in (False, True):  # each would take 8 TB of memory
        nrrd, meta = b"sizes: 7 6 5", b"DimSize = 7 6 5"
        for suffix, size in ((".nrrd", nrrd), (".nhdr", nrrd), (".mha", meta), (".mhd", meta)):
            bomb = tmp_path / f"bomb{suffix}"
            sitk.WriteImage(picture, str(bomb), useCompression=packed)
            bomb.write_bytes(bomb.read_bytes().replace(size, size.replace(b"7 6 5", b"70000 6000 5000"), 1))
            with pytest.raises(InputError, match="announces 8400000000000 bytes"):
                read_image(bomb)
    kept = data.replace(
        b"\nencoding", b"\n# " + b"y" * 5000 + b"\nnote:=" + b"x" * 5000 + b"\nencoding", 1
    )  # what a program keeps may be long
    (tmp_path / "kept.nrrd").write_bytes(kept)
    assert read_image(tmp_path / "kept.nrrd").values.shape == (5, 6, 7)


def test_nifti_of_either_byte_order_is_read(tmp_path):
    import nibabel

    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "one.nii.gz")
    assert np.array_equal(read_image(tmp_path / "one.nii.gz").values.T, values)
    (tmp_path / "ONE.NII.GZ").write_bytes((tmp_path / "one.nii.gz").read_bytes())
    assert np.array_equal(read_image(tmp_path / "ONE.NII.GZ").values.T, values)
    data = bytearray(gzip.decompress((tmp_path / "one.nii.gz").read_bytes()))
    data[40:50] = np.array([4, 3, 4, 5, 0], np.int16).tobytes()  # a fourth dimension of 0, as some write it
    (tmp_path / "four.nii").write_bytes(data)
    assert np.array_equal(read_image(tmp_path / "four.nii").values.T, values)
    other = nibabel.Nifti1Image(values, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(other, tmp_path / "big.nii")
    assert np.array_equal(read_image(tmp_path / "big.nii").values.T, values)


def test_brackets_without_end_are_refused_and_the_worker_goes_on(tmp_path):
    (tmp_path / "deep.mrk.json").write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="could not be read"):
        load_points(str(tmp_path / "deep.mrk.json"), "fixed points")
    assert protocol.parse(b"[" * 100_000) is None
    for job in ("../out", "a/b", 3, None, ["x"]):
        assert protocol.parse(protocol.line("register", job=job, request={})) is None
    assert protocol.parse(protocol.line("register", job="job1"))["job"] == "job1"


def test_folders_of_dicom_slices_are_read_right_or_refused_or_noted(tmp_path):
    """Three of each kind; what each kind must come to, so that a kind that is always refused does not pass for good."""
    ended, faults = dicom_folders.run(range(3 * len(dicom_folders.KINDS)), tmp_path)
    assert not faults
    for kind in ("clean", "renamed", "shuffled_numbers", "upside_down", "slopes", "one_uid_for_all"):
        assert ended[kind] == {"read": 3}, kind
    for kind in ("copied", "tilted", "wandering", "uneven", "two_thicknesses", "with_others"):
        assert ended[kind] == {"noted": 3}, kind
    for kind in ("second_series", "second_acquisition", "second_acquisition_between", "doubled_with_other_values"):
        assert ended[kind] == {"refused": 3}, kind


@pytest.mark.slow
def test_two_thousand_folders_of_dicom_slices(tmp_path):
    assert not dicom_folders.run(range(2000), tmp_path)[1]
