"""Make folders of DICOM slices as hospitals and exports leave them, and read each against what is known of it.

    python -m fuzz.dicom_folders --count 2000    (from SlicerDeepReg/Testing)

The stored values grow linearly along a random direction, so every voxel that was read says how far it was put from
where it was scanned; linear interpolation keeps that exactly. A finding of this script is a folder that was read with
an error above 1 mm or with voxels of another scan; a note saves only what cannot be told apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.dicom import write_series
from pydicom.uid import generate_uid
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.types import Grid, Image, InputError

#: Stored units for each mm along the direction, and what belongs to the middle of the volume.
PER_MM, MIDDLE = 20.0, 20000.0
#: What another scan's values have more: several mm.
OTHER = 4000.0
LARGEST_MM = 1.0


class Folder:
    """A folder with one scan, and the direction along which its values grow."""

    def __init__(self, path: Path, random: np.random.Generator) -> None:
        self.path, self.random = path, random
        self.size = (int(random.integers(8, 14)), int(random.integers(8, 14)), int(random.integers(8, 24)))
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0] if random.random() < 0.5 else np.eye(3)
        self.turn = turn * np.linalg.det(turn)
        self.spacing = random.uniform(0.6, 3.0, 3).round(3)
        self.origin = random.uniform(-80, 80, 3).round(2)
        along = random.normal(size=3)
        self.along = along / np.linalg.norm(along)
        self.study, self.frame, self.series = generate_uid(), generate_uid(), generate_uid()
        self.positions = [self.origin + self.turn[:, 2] * self.spacing[2] * k for k in range(self.size[2])]

    def write(self, other: float = 0.0, prefix: str = "", change=None, positions=None) -> list[Path]:
        """Write slices at the positions; returns their files in order."""
        positions = self.positions if positions is None else positions
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.turn * self.spacing, self.origin
        values = np.zeros((len(positions), *self.size[1::-1]), np.float32)
        for k, position in enumerate(positions):
            values[k] = self.expected(self.points(position)) + other
        grid = Grid((*self.size[:2], len(positions)), matrix)

        def placed(k, header):
            header.SeriesInstanceUID = self.series
            header.ImagePositionPatient = [f"{v:.6f}" for v in positions[k]]
            if change is not None:
                change(k, header)

        image = Image(values / 10, grid)
        write_series(self.path, image, study=self.study, frame=self.frame, change=placed, prefix=prefix, most=65535)
        return [self.path / f"{prefix}{k:03d}.dcm" for k in range(len(positions))]

    def points(self, position: np.ndarray) -> np.ndarray:
        """(J, I, 3) LPS mm of a slice's pixels."""
        j, i = np.meshgrid(np.arange(self.size[1]), np.arange(self.size[0]), indexing="ij")
        return position + np.stack([i * self.spacing[0], j * self.spacing[1]], -1) @ self.turn[:, :2].T

    def expected(self, points: np.ndarray) -> np.ndarray:
        """What is stored at points, LPS mm."""
        return MIDDLE + PER_MM * (points - self.origin) @ self.along


def clean(folder):
    folder.write()


def removed(folder):
    files = folder.write()
    for n in folder.random.choice(len(files), int(folder.random.integers(1, 5)), replace=False):
        files[n].unlink()


def half_removed(folder):
    files = folder.write()
    for file in files[:: int(folder.random.integers(2, 4))]:
        file.unlink()


def copied(folder):
    files = folder.write()
    for n in folder.random.choice(len(files), int(folder.random.integers(1, len(files))), replace=False):
        shutil.copy(files[n], folder.path / f"copy of {files[n].name}")


def doubled_with_new_uids(folder):
    folder.write()
    count = int(folder.random.integers(1, folder.size[2]))
    folder.write(prefix="b", positions=folder.positions[:count])


def doubled_with_other_values(folder):
    folder.write()
    count = int(folder.random.integers(1, folder.size[2]))
    folder.write(other=OTHER, prefix="b", positions=folder.positions[:count])


def second_series(folder):
    folder.write()
    folder.series = generate_uid()
    folder.write(other=OTHER, prefix="b")


def second_acquisition(folder):
    tag, first, second = [
        ("AcquisitionNumber", 1, 2),
        ("EchoNumbers", 1, 2),
        ("EchoTime", 10, 90),
        ("TemporalPositionIdentifier", 1, 2),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
        ("AcquisitionTime", "120000", "120100"),
    ][folder.random.integers(6)]
    folder.write(change=lambda k, header: setattr(header, tag, first))
    folder.write(other=OTHER, prefix="b", change=lambda k, header: setattr(header, tag, second))


def second_acquisition_between(folder):
    part = float(folder.random.uniform(0.02, 0.98))
    between = [place + folder.turn[:, 2] * folder.spacing[2] * part for place in folder.positions]
    folder.write(change=lambda k, header: setattr(header, "AcquisitionNumber", 1))
    folder.write(
        other=OTHER, prefix="b", positions=between, change=lambda k, header: setattr(header, "AcquisitionNumber", 2)
    )


def untold_pass(folder):
    folder.write()
    part = float(folder.random.choice([0.0, 0.5, folder.random.uniform(0.02, 0.98)]))
    between = [place + folder.turn[:, 2] * folder.spacing[2] * part for place in folder.positions]
    count = folder.size[2]
    folder.write(
        other=OTHER, prefix="b", positions=between, change=lambda k, h: setattr(h, "InstanceNumber", k + 1 + count)
    )


def scout(folder):
    folder.write()
    axes = [folder.turn[:, 1], folder.turn[:, 2]]

    def turned(k, header):
        header.ImageOrientationPatient = [f"{v:.8f}" for v in np.concatenate(axes)]
        header.InstanceNumber = 1000 + k

    count = int(folder.random.integers(1, 6))
    folder.write(other=OTHER, prefix="scout", positions=folder.positions[:count], change=turned)


def renamed(folder):
    for n, file in enumerate(folder.write()):
        file.rename(folder.path / f"{folder.random.integers(1 << 40):x}{('', '.dcm', '.IMA')[n % 3]}")


def linked(folder):
    files = folder.write()
    away = folder.path.parent / (folder.path.name + " away")
    away.mkdir()
    for n in folder.random.choice(len(files), 3, replace=False):
        file = files[n]
        file.rename(away / file.name)
        file.symlink_to(away / file.name if folder.random.random() < 0.5 else away / "gone.dcm")


def with_others(folder):
    folder.write()
    (folder.path / "readme.txt").write_text("not a slice")
    (folder.path / "LICENSE").write_text("nor this")
    (folder.path / "empty.dcm").write_bytes(b"")
    (folder.path / "dangling").symlink_to(folder.path / "nowhere")
    (folder.path / "folder").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder.path / "pipe.dcm")


def tilted(folder):
    slope = np.tan(np.radians(folder.random.uniform(-30, 30, 2)))
    step = folder.turn[:, :2] @ slope * folder.spacing[2]
    folder.write(positions=[place + step * k for k, place in enumerate(folder.positions)])


def wandering(folder):
    shift = folder.random.normal(size=(folder.size[2], 2)) * 2
    folder.write(positions=[place + folder.turn[:, :2] @ moved for place, moved in zip(folder.positions, shift)])


def uneven(folder):
    steps = np.cumsum(folder.random.uniform(0.6, 2.4, folder.size[2])) * folder.spacing[2]
    folder.write(positions=[folder.origin + folder.turn[:, 2] * step for step in steps])


def two_thicknesses(folder):
    steps = np.arange(folder.size[2], dtype=float) * folder.spacing[2]
    middle = folder.size[2] // 2
    steps[middle:] += (steps[middle:] - steps[middle]) * folder.random.uniform(0.2, 2.0)
    folder.write(
        positions=[folder.origin + folder.turn[:, 2] * step for step in steps],
        change=lambda k, header: setattr(header, "AcquisitionNumber", 1 + (k >= middle)),
    )


def shuffled_numbers(folder):
    numbers = folder.random.permutation(folder.size[2])
    folder.write(change=lambda k, header: setattr(header, "InstanceNumber", int(numbers[k]) + 1))


def upside_down(folder):
    folder.write(positions=folder.positions[::-1])


def cut_short(folder):
    files = folder.write()
    file = files[folder.random.integers(len(files))]
    data = file.read_bytes()
    file.write_bytes(data[: int(folder.random.integers(0, len(data)))])


def lacking(folder):
    tag = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InstanceNumber", "SeriesInstanceUID")[
        folder.random.integers(5)
    ]
    every = folder.random.random() < 0.5
    chosen = int(folder.random.integers(folder.size[2]))
    folder.write(change=lambda k, header: delattr(header, tag) if every or k == chosen else None)


def slopes(folder):
    factors = folder.random.uniform(0.5, 2.0, folder.size[2]).round(4)

    def scaled(k, header):
        values = np.frombuffer(header.PixelData, np.uint16).astype(float)
        header.RescaleSlope, header.RescaleIntercept = str(factors[k]), "-100"
        header.PixelData = np.clip(np.round((values + 100) / factors[k]), 0, 65535).astype(np.uint16).tobytes()

    folder.write(change=scaled)


def one_uid_for_all(folder):
    uid = generate_uid()

    def same(k, header):
        header.SOPInstanceUID = uid
        header.file_meta.MediaStorageSOPInstanceUID = uid

    folder.write(change=same)


def another_pixel_size(folder):
    chosen = int(folder.random.integers(folder.size[2]))

    def wider(k, header):
        if k == chosen:
            header.PixelSpacing = [float(side) * 1.5 for side in header.PixelSpacing]

    folder.write(change=wider)


KINDS = (
    clean,
    removed,
    half_removed,
    copied,
    doubled_with_new_uids,
    doubled_with_other_values,
    second_series,
    second_acquisition,
    second_acquisition_between,
    untold_pass,
    scout,
    renamed,
    linked,
    with_others,
    tilted,
    wandering,
    uneven,
    two_thicknesses,
    shuffled_numbers,
    upside_down,
    cut_short,
    lacking,
    slopes,
    one_uid_for_all,
    another_pixel_size,
)


def largest_error_mm(folder: Folder, image: Image) -> float:
    """How far the worst voxel lies from where its value was scanned, along the direction of the values.

    What lies outside every slice, where a tilted scan has corners of nothing, does not count: there the lowest value
    stands.
    """
    k, j, i = np.meshgrid(*(np.arange(n) for n in image.values.shape), indexing="ij")
    points = np.stack([i, j, k], -1) @ image.grid.ijk_to_lps[:3, :3].T + image.grid.origin_lps_mm
    values = image.values.astype(float)
    inside = values > values.min() + 0.5
    # A voxel at the border of a moved slice may be mixed with what lies outside.
    grown = ~inside
    for axis in (1, 2):
        grown = grown | np.roll(~inside, 1, axis) | np.roll(~inside, -1, axis)
    if image.grid.size_ijk[:2] == folder.size[:2]:
        grown[:] = False  # no slice was moved
    else:
        grown[:, [0, -1]] = grown[:, :, [0, -1]] = True
    error = np.abs(values - folder.expected(points)) / PER_MM
    return float(error[~grown].max()) if (~grown).any() else 0.0


def check(number: int, parent: Path) -> tuple[str, str, str]:
    """Make folder ``number`` and read it; returns its kind, how it ended ("read", "noted", "refused"), and a fault."""
    random = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    folder = Folder(parent / str(number), random)
    kind(folder)
    try:
        image = read_image(folder.path, "moving image")
    except InputError as error:
        return kind.__name__, "refused", "" if len(str(error)) > 40 and "\n" not in str(error) else repr(error)
    except Exception:  # whatever it is, it is a finding
        return kind.__name__, "failed", traceback.format_exc()[-600:]
    error = largest_error_mm(folder, image)
    how = "noted" if image.notes else "read"
    # Only where two scans cannot be told apart is a note enough; elsewhere it says what was done, and done rightly.
    moved = error > LARGEST_MM and (how == "read" or kind is not untold_pass)
    return kind.__name__, how, f"{how}, and off by {error:.2f} mm" if moved else ""


def run(numbers, parent: Path) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Check folders; returns how those of each kind ended, and the faults."""
    ended: dict[str, dict[str, int]] = {}
    faults = []
    for number in numbers:
        kind, how, fault = check(number, parent)
        ended.setdefault(kind, {}).setdefault(how, 0)
        ended[kind][how] += 1
        if fault:
            faults.append(f"{number} {kind}: {fault}")
        shutil.rmtree(parent / str(number), ignore_errors=True)
        shutil.rmtree(parent / f"{number} away", ignore_errors=True)
    return ended, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        ended, faults = run(range(options.start, options.start + options.count), Path(parent))
    for kind, counts in ended.items():
        print(f"{kind:28} " + "  ".join(f"{how} {count}" for how, count in sorted(counts.items())))
    print(*faults, sep="\n")
    print(f"{options.count} folders, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
