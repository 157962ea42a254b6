"""Make the pair of brains of Resources/Samples from the images of its source: cut, and in few gray levels.

    python tools/sample_pair.py FOLDER

FOLDER holds a_t1.nii.gz, a_aseg.nii.gz, b_t1.nii.gz and b_aseg.nii.gz: two people of mne-misc-data (BSD-3-Clause),
skull-stripped, with FreeSurfer's segmentation. What is written is in git, once; run this only to change it.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "SlicerDeepReg" / "Resources" / "Samples"
#: Voxels around the brain, and how many gray values become one: what is left is less than the noise.
MARGIN, STEP = 3, 4
#: FreeSurfer's numbers, left and right, of each structure of the samples.
STRUCTURES = ((4, 43), (10, 49), (11, 50), (12, 51), (13, 52), (17, 53), (18, 54), (16,))


def main(folder):
    for one in "ab":
        image, aseg = (sitk.ReadImage(str(folder / f"{one}_{kind}.nii.gz")) for kind in ("t1", "aseg"))
        values, labels = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(aseg)
        inside = np.argwhere(values > 0)
        low = np.maximum(inside.min(0) - MARGIN, 0)
        high = np.minimum(inside.max(0) + MARGIN + 1, values.shape)
        structures = np.zeros(labels.shape, np.uint8)
        for number, codes in enumerate(STRUCTURES, start=1):
            structures[np.isin(labels, codes)] = number
        coarse = np.where(values > 0, values // STEP * STEP + STEP // 2, 0).astype(np.uint8)
        for name, array in (("t1", coarse), ("structures", structures)):
            size = [int(n) for n in (high - low)[::-1]]
            start = [int(n) for n in low[::-1]]
            whole = sitk.GetImageFromArray(array)
            whole.CopyInformation(image)
            path = SAMPLES / f"brain-{one}-{name}.nii.gz"
            sitk.WriteImage(
                sitk.RegionOfInterest(whole, size, start), str(path), useCompression=True, compressionLevel=9
            )
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
