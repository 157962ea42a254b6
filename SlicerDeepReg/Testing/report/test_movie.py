"""Films: a GIF, and an MP4 that is read back."""

import numpy as np
import pytest
from SlicerDeepRegLib.report import movie
from SlicerDeepRegLib.types import InputError


@pytest.fixture
def frames():
    """A square that moves from left to right, of odd height."""
    found = np.zeros((6, 51, 80, 3), np.uint8)
    for number, frame in enumerate(found):
        frame[20:30, 10 * number : 10 * number + 20] = (200, 120, 40)
    return list(found)


def test_an_mp4_has_every_frame_in_order_and_its_own_speed(frames, tmp_path):
    import imageio_ffmpeg

    movie.write_film(frames, tmp_path / "film.MP4", 0.25)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "film.MP4"))
    facts = next(reader)
    assert facts["size"] == (80, 52) and facts["fps"] == pytest.approx(4)
    read = [np.frombuffer(one, np.uint8).reshape(52, 80, 3) for one in reader]
    assert len(read) == 6
    for given, found in zip(frames, read):
        assert np.abs(given.astype(int) - found[:51]).mean() < 6
        assert abs(np.argwhere(given[25, :, 0] > 100).mean() - np.argwhere(found[25, :, 0] > 100).mean()) < 1.5


def test_other_names_are_gifs_and_nothing_is_no_film(frames, tmp_path):
    movie.write_film(frames, tmp_path / "film.gif", 0.1)
    assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"
    for name in ("none.gif", "none.mp4"):
        with pytest.raises(InputError, match="nothing to export"):
            movie.write_film([], tmp_path / name, 0.1)


def test_without_ffmpeg_it_says_what_to_install(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(movie.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="imageio-ffmpeg"):
        movie.write_film(frames, tmp_path / "film.mp4", 0.1)
    assert not (tmp_path / "film.mp4").exists()
