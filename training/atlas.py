"""Derive the committed 2-mm atlas (Resources/Atlas/mni152_2mm.npz) from the MNI152 files that nilearn ships.

Run ``python training/atlas.py [--output FILE]`` in an environment with nilearn. The same nilearn files give the same
arrays. Terms of the data: Resources/Atlas/LICENSE-MNI.txt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import nilearn.datasets
import numpy as np
from scipy import ndimage

OUTPUT = Path(__file__).resolve().parent.parent / "Resources" / "Atlas" / "mni152_2mm.npz"
FACTOR = 2
MARGIN = 3
"""Empty voxels kept around the brain."""


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One of nilearn's 1-mm maps as an array [k, j, i] in LPS directions, and its affine (to LPS mm)."""
    folder = Path(nilearn.datasets.__file__).parent / "data"
    image = nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    matrix = np.asarray(image.affine)
    if not np.allclose(matrix[:3, :3], np.eye(3)):
        raise SystemExit(f"{image.get_filename()} is not on a 1-mm RAS grid; this script expects nilearn's own files.")
    array = np.asarray(image.dataobj, dtype=np.float32)
    affine = np.eye(4)
    # RAS to LPS: the first two axes change their sign, so they are stored in reverse.
    affine[:2, 3] = -(matrix[:2, 3] + np.array(array.shape[:2]) - 1)
    affine[2, 3] = matrix[2, 3]
    return array[::-1, ::-1, :].transpose(2, 1, 0), affine


def reduce(array: np.ndarray) -> np.ndarray:
    """Block means of FACTOR x FACTOR x FACTOR voxels (the odd last plane repeats the edge)."""
    padded = np.pad(array, [(0, -n % FACTOR) for n in array.shape], mode="edge")
    k, j, i = (n // FACTOR for n in padded.shape)
    return padded.reshape(k, FACTOR, j, FACTOR, i, FACTOR).mean(axis=(1, 3, 5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output

    t1, affine = read("t1")
    head = ndimage.binary_fill_holes(t1 > 0)
    parts, count = ndimage.label(head)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    maps = {"t1": reduce(t1), "gm": reduce(read("gm")[0]), "wm": reduce(read("wm")[0])}
    brain = reduce((parts == largest).astype(np.float32)) >= 0.5

    box = [slice(max(s.start - MARGIN, 0), s.stop + MARGIN) for s in ndimage.find_objects(brain.astype(np.int8))[0]]
    affine[:3, :3] *= FACTOR
    affine[:3, 3] += (FACTOR - 1) / 2 + FACTOR * np.array([s.start for s in reversed(box)])
    arrays = {name: np.round(np.where(brain, values, 0)).astype(np.uint8)[tuple(box)] for name, values in maps.items()}
    arrays["brain"] = brain.astype(np.uint8)[tuple(box)]
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, affine=affine, **arrays)
    print(f"{output}: {arrays['t1'].shape} voxels, {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
