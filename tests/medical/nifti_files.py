"""NIfTI files made by hand for the tests of the reader and the writer."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ORIENTATIONS = [
    "".join(axes[i] for i in order)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for axes in ([a, b, c] for a in "RL" for b in "AP" for c in "SI")
]  # all 48


def affine_for(orientation: str, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> NDArray:
    """An affine whose axes run to the three letters."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(orientation):
        world = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
        affine[world, axis] = spacing[axis] * (1 if letter in "RAS" else -1)
    affine[:3, 3] = (-12.5, 31.0, 7.25)
    return affine


def save(
    path: Path,
    raw: NDArray,
    affine: NDArray | None = None,
    *,
    slope: float = 1.0,
    inter: float = 0.0,
    order: str = "<",
    version: int = 1,
    change: dict[str, object] | None = None,
    extension: bytes = b"\0\0\0\0",
) -> Path:
    """Write the stored numbers `raw` with a header of one's own, byte for byte, without nibabel's writer."""
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header.set_data_dtype(raw.dtype)
    header.set_data_shape(raw.shape)
    header.set_xyzt_units("mm", "sec")
    affine = affine_for("RAS") if affine is None else affine
    header.set_qform(affine, code=1, strip_shears=True)
    header.set_sform(affine, code=2)
    header["scl_slope"], header["scl_inter"] = slope, inter
    header["magic"] = b"n+1" if version == 1 else header["magic"]
    header["descrip"] = b"John Doe 1970"
    header["vox_offset"] = header["sizeof_hdr"].item() + len(extension)
    for name, value in (change or {}).items():
        header[name] = value
    data = header.binaryblock + extension + raw.astype(raw.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.name.endswith(".gz") else data)
    return path


def numbers(shape: tuple[int, ...] = (5, 6, 7), dtype: str = "int16", seed: int = 0) -> NDArray:
    """Varied stored numbers of a type."""
    draw = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return draw.normal(100, 30, shape).astype(dtype)
    info = np.iinfo(dtype)
    return draw.integers(max(info.min, -5000), min(info.max, 5000), shape).astype(dtype)
