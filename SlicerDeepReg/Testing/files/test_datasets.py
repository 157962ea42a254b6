"""Images for trainings only: films, Analyze, DICOM, pictures, and pickles of which nothing is run."""

import os
import pickle

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.dicom import write_series
from helpers.scans import scan
from SlicerDeepRegLib.files.datasets import count_frames, read_subject
from SlicerDeepRegLib.training.dataset.read import read_dataset_index
from SlicerDeepRegLib.training.recipe import prepare_subjects
from SlicerDeepRegLib.types import InputError

UNIT = {"intensity": "unit", "voxel_mm": None, "orientation": None}


def pickled(path, held, protocol=4):
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    return path


class Trap:
    """What a pickle that runs code looks like."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_transmorphs_pickles_are_images_with_labels(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(3):
        image, labels = scan(number, (24, 28, 20))
        for protocol in (2, 4, 5):
            held = (image.values.astype(np.float32), labels.values.astype(np.uint8))
            path = pickled(tmp_path / "data" / f"subject_{number}.pkl", held, protocol)
            assert np.array_equal(read_subject(path, "image").values, held[0])
            assert np.array_equal(read_subject(path, "labels").values, held[1])
    index = read_dataset_index(tmp_path / "data")
    subjects, _ = prepare_subjects(index, UNIT, None, tmp_path / "cache", False)
    assert set(subjects) == {"subject_0", "subject_1", "subject_2"}
    assert subjects["subject_0"].arrays == ("image", "labels") and subjects["subject_0"].shape == (24, 28, 20)


def test_nothing_in_a_pickle_is_run(tmp_path):
    for held in (Trap(tmp_path / "made"), (np.zeros((4, 4, 4)), Trap(tmp_path / "made")), np.array([Trap(tmp_path)])):
        path = pickled(tmp_path / "evil.pkl", held)
        with pytest.raises(InputError, match=r"it names (posix|nt)\.mkdir, which is no array.*nothing in it was run"):
            read_subject(path, "image")
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "held, message",
    [
        (b"no pickle", "cannot be read"),
        (pickle.dumps({"image": 1}), "does not hold .image, labels. as arrays of 2 or 3 axes, but dict"),
        (pickle.dumps((np.zeros((2, 2, 2, 2)), np.zeros(3))), "but ndarray.2, 2, 2, 2., ndarray.3,."),
        (pickle.dumps(np.zeros((4, 4)))[:-9], "cannot be read"),
    ],
)
def test_other_pickles_are_refused_in_words(tmp_path, held, message):
    (tmp_path / "a.pkl").write_bytes(held)
    with pytest.raises(InputError, match=message):
        read_subject(tmp_path / "a.pkl", "image")


def test_a_film_is_frames_of_one_group(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs imageio-ffmpeg")
    for name in ("a", "b"):
        writer = imageio_ffmpeg.write_frames(
            str(tmp_path / f"{name}.avi"), (112, 96), fps=10, codec="mjpeg", macro_block_size=1, pix_fmt_in="gray"
        )
        writer.send(None)
        for number in range(6):
            frame = np.full((96, 112), 20, np.uint8)
            frame[20:60, 10 + 10 * number : 40 + 10 * number] = 200
            writer.send(frame.tobytes())
        writer.close()
    assert count_frames(tmp_path / "a.avi") == 6
    index = read_dataset_index(tmp_path)
    assert [(one.name, one.group, one.frame) for one in index.subjects.values()] == [
        ("a frame 0", "a", 0),
        ("a frame 3", "a", 3),
        ("b frame 0", "b", 0),
        ("b frame 3", "b", 3),
    ]
    frame = read_subject(tmp_path / "a.avi", "image", 3)
    assert frame.grid.size_ijk == (112, 96, 1) and frame.dimensions == 2
    assert frame.values[0, 40, 55] > 150 and frame.values[0, 40, 25] < 60  # the square is where it was put
    subjects, _ = prepare_subjects(index, UNIT, (64, 64), tmp_path / "cache", False, resample_to=True)
    assert subjects["a frame 3"].shape == (64, 64)
    assert not np.array_equal(subjects["a frame 0"].array("image"), subjects["a frame 3"].array("image"))
    with pytest.raises(InputError, match="has 6 frames; there is no frame 6"):
        read_subject(tmp_path / "a.avi", "image", 6)
    (tmp_path / "c.avi").write_bytes(b"no film")
    with pytest.raises(InputError, match="The film .* cannot be read"):
        read_subject(tmp_path / "c.avi", "image", 0)


def test_analyze_is_read_with_its_axes_as_stored(tmp_path):
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(6, 5, 4)  # i, j, k
    header = nibabel.AnalyzeHeader()
    header.set_data_dtype(np.int16)
    nibabel.AnalyzeImage(values, np.diag([0.9, 1.1, 1.3, 1]), header).to_filename(str(tmp_path / "s01.img"))
    assert (tmp_path / "s01.hdr").is_file()
    image = read_subject(tmp_path / "s01.hdr", "image")
    assert np.array_equal(image.values, values.T)
    assert image.grid.spacing_mm == pytest.approx((0.9, 1.1, 1.3), abs=1e-5)
    assert list(read_dataset_index(tmp_path).subjects) == ["s01"]  # the .img belongs to it
    (tmp_path / "s01.img").unlink()
    with pytest.raises(InputError, match="with its .img beside it"):
        read_subject(tmp_path / "s01.hdr", "image")


def test_folders_of_dicom_and_pictures_are_images(tmp_path):
    for number in range(2):
        (tmp_path / "dicom" / f"patient{number}").mkdir(parents=True)
        write_series(tmp_path / "dicom" / f"patient{number}", scan(number, (24, 28, 20))[0])
    index = read_dataset_index(tmp_path / "dicom")
    assert list(index.subjects) == ["patient0", "patient1"]
    subjects, _ = prepare_subjects(index, UNIT, None, tmp_path / "cache", False)
    assert len(subjects["patient0"].shape) == 3
    picture, _ = scan(0, (40, 40))
    (tmp_path / "png").mkdir()
    gray = sitk.GetImageFromArray((picture.values[0] / 4).astype(np.uint8))
    sitk.WriteImage(gray, str(tmp_path / "png" / "a.png"))
    assert read_subject(tmp_path / "png" / "a.png", "image").dimensions == 2
    assert list(read_dataset_index(tmp_path / "png").subjects) == ["a"]
