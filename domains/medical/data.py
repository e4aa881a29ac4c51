"""NIfTI in: scans, masks and label maps, checked once and kept with all that their file says.

NIfTI-1 and NIfTI-2 in one file (`.nii`, `.nii.gz`; what counts is the content, not the name), any orientation, byte
order and scaling, the eight integer and two real number types. A voxel's value is `slope * stored + inter`.
The header layout is that of the NIfTI-1 and NIfTI-2 standards (nifti.nimh.nih.gov); affine rule: sform if its code is
set, else qform if its code is set, else the voxel sizes alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from domains.medical.geometry import Frame, grid_distance, ras_frame, same_grid, spacing_of
from domains.medical.parallel import each
from shared.errors import UserError

STORED_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
# Spacing of anything from a micro-CT to a scout scan; beyond it a header field is wrong.
MIN_SPACING_MM, MAX_SPACING_MM = 0.005, 50.0
# A whole-body CT of 512 x 512 x 2000 in int16 has 1 GiB.
MAX_BYTES = 4 * 2**30
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, millimetre, micrometre
_MOST_EXTENSION = 16 * 2**20  # bytes; a provenance record has a few thousand
_RESAVE = "export the scan again as one NIfTI file (.nii or .nii.gz)"


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-d scan: the stored numbers and everything needed to write them back as they were.

    raw          (i, j, k) stored numbers in the file's number type, native byte order, read-only
    slope, inter value = slope * stored + inter
    affine       (4, 4) voxel index to mm
    header       private copy of the file's header; its byte order is that of the file
    path         file it came from, None for a generated volume
    sha256       of the bytes of that file, of the stored numbers for a generated volume
    """

    raw: NDArray
    slope: float
    inter: float
    affine: NDArray
    header: nib.Nifti1Header
    path: Path | None
    sha256: str

    @property
    def values(self) -> NDArray:
        """Scaled values as float32 (a read-only view when that is what is stored, else computed at every call)."""
        if self.slope == 1.0 and self.inter == 0.0:
            return self.raw if self.raw.dtype == np.float32 else self.raw.astype(np.float32)
        out = np.empty(self.shape, np.float32, order="F")
        for k in range(self.shape[2]):
            out[..., k] = self.raw[..., k].astype(np.float64) * self.slope + self.inter
        return out

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.raw.shape
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edges in mm, in the order of the file's axes."""
        return spacing_of(self.affine)

    @cached_property
    def frame(self) -> Frame:
        """How to turn arrays of this grid to RAS and back."""
        return ras_frame(self.shape, self.affine)

    @property
    def orientation(self) -> str:
        """Where the three file axes run to, for example "LAS"."""
        letters = [""] * 3
        for world, axis in enumerate(self.frame.axes):
            letters[axis] = "RAS"[world] if not self.frame.flips[world] else "LPI"[world]
        return "".join(letters)

    @property
    def orientation_known(self) -> bool:
        """False when the file sets neither sform nor qform, so that left and right are only a convention."""
        return int(self.header["sform_code"]) > 0 or int(self.header["qform_code"]) > 0


def read_volume(path: str | Path) -> Volume:
    """A scan from a NIfTI file. Raises UserError on anything that is not one finite, varying 3-d volume."""
    volume = _load(Path(path))
    _refuse_unless_finite(volume)
    low, high = volume.raw.min(), volume.raw.max()
    if low == high:
        value = float(low) * volume.slope + volume.inter
        raise UserError(
            f"every voxel of the image is {value:g}", where=str(path), remedy="choose a file that holds a scan"
        )
    largest = max(abs(float(low) * volume.slope + volume.inter), abs(float(high) * volume.slope + volume.inter))
    if largest > float(np.finfo(np.float32).max):
        raise UserError(
            f"values reach {largest:.3g}, more than single precision can hold",
            where=str(path),
            remedy="rescale the image",
        )
    return volume


def read_contrasts(paths: Mapping[str, str | Path]) -> dict[str, Volume]:
    """Several contrasts of one subject on one grid, by name; the first one gives the grid."""
    if not paths:
        raise UserError("no image was given", remedy="name at least one NIfTI file")
    volumes = dict(zip(paths, each(read_volume, paths.values()), strict=True))
    first, *others = volumes
    for name in others:
        _require_grid(volumes[name], volumes[first], f"the {name} image", f"the {first} image")
    return volumes


def read_mask(path: str | Path, like: Volume, *, allow_empty: bool = False) -> NDArray:
    """A binary mask on the grid of `like`, as bool (i, j, k); zero is outside, one other value is inside.

    The value inside is a whole number above zero, as 1 or 255, in any number type: a fraction may be a probability, a
    number below zero a difference.
    """
    volume = _load(Path(path))
    _refuse_unless_finite(volume)
    _require_grid(volume, like, "the mask", "the image")
    low, high = volume.raw.min(), volume.raw.max()
    if not ((volume.raw == low) | (volume.raw == high)).all():
        seen = np.unique(volume.raw)
        shown = ", ".join(f"{float(v) * volume.slope + volume.inter:g}" for v in seen[:4])
        raise UserError(
            f"the mask holds {len(seen)} different values ({shown}{', ...' if len(seen) > 4 else ''})",
            where=str(path),
            remedy="give a mask with 0 outside and 1 inside",
        )
    outside, inside = sorted((low, high), key=lambda v: abs(float(v) * volume.slope + volume.inter))
    mask = np.zeros(volume.shape, bool) if low == high else volume.raw == inside
    outside, inside = (float(v) * volume.slope + volume.inter for v in (outside, inside))
    if abs(inside) > 1e-6 and (inside < 0.5 or abs(inside - round(inside)) > 1e-3):
        raise UserError(
            f"the mask holds {inside:g}" if low == high else f"the mask holds {outside:g} and {inside:g}",
            where=str(path),
            remedy="give a mask with 0 outside and 1 inside",
        )
    if low == high and abs(inside) > 1e-6:
        mask[:] = True
    elif abs(outside) > 1e-6:
        raise UserError(
            f"the mask holds {outside:g} and {inside:g}, so none of its voxels is outside",
            where=str(path),
            remedy="give a mask with 0 outside and 1 inside",
        )
    if not allow_empty and not mask.any():
        raise UserError(
            "the mask is empty: no voxel of it lies inside the image",
            where=str(path),
            remedy="draw the mask on this image, or check that both were saved on one grid",
        )
    return mask


def read_labels(path: str | Path, like: Volume) -> NDArray:
    """A label map on the grid of `like`: (i, j, k) int32, 0 is background; it may be empty."""
    volume = _load(Path(path))
    _refuse_unless_finite(volume)
    _require_grid(volume, like, "the label map", "the image")
    out = np.empty(volume.shape, np.int32)
    for k in range(volume.shape[2]):
        values = volume.raw[..., k].astype(np.float64) * volume.slope + volume.inter
        whole = np.rint(values)
        if np.abs(values - whole).max() > 1e-3 or whole.min() < 0 or whole.max() > 65535:
            raise UserError(
                f"the label map holds values from {values.min():g} to {values.max():g} that are not whole labels",
                where=str(path),
                remedy="give whole numbers from 0 (background) to 65535",
            )
        out[..., k] = whole
    return out


def read_extensions(path: str | Path) -> list[tuple[int, bytes]]:
    """Code and body of every header extension of a NIfTI file, within its first 16 MiB; UserError when it is none."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if zipped else file
            header = _read_header(stream, str(path))
            stream.seek(header["sizeof_hdr"].item())
            block = stream.read(_MOST_EXTENSION)
    except (EOFError, zlib.error, OSError) as error:
        raise UserError("the file is damaged or cannot be read", where=str(path), remedy=_RESAVE) from error
    order: Literal["little", "big"] = "little" if header.endianness == "<" else "big"
    found, at = [], 4 if block[:1] not in (b"", b"\0") else len(block)
    while at + 8 <= len(block):
        size, code = (int.from_bytes(block[at + k : at + k + 4], order) for k in (0, 4))
        if size < 16 or at + size > len(block) or at + size > float(header["vox_offset"]):
            break
        found.append((code, block[at + 8 : at + size].rstrip(b"\0")))
        at += size
    return found


def make_volume(
    raw: NDArray, affine: NDArray, *, slope: float = 1.0, inter: float = 0.0, code: int = 1, byte_order: str = "<"
) -> Volume:
    """A volume that was generated, with the NIfTI-1 header it will be written with.

    raw     (i, j, k) of one of STORED_TYPES;   affine  (4, 4) in mm
    code    what the affine refers to: 1 the scanner, 2 an aligned scan, 4 MNI space;   byte_order  "<" or ">"
    """
    if raw.ndim != 3 or raw.dtype.name not in STORED_TYPES:
        raise ValueError(f"need a 3-d array of a NIfTI number type, not {raw.ndim}-d {raw.dtype}")
    header = nib.Nifti1Header(endianness=byte_order)
    header.set_data_dtype(raw.dtype)
    header.set_data_shape(raw.shape)
    header.set_xyzt_units("mm")
    header.set_qform(np.asarray(affine, float), code=code, strip_shears=True)
    header.set_sform(np.asarray(affine, float), code=code)
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = slope, inter
    stored = np.array(raw, dtype=raw.dtype.newbyteorder("="), order="F")
    stored.flags.writeable = False
    digest = hashlib.sha256(stored.tobytes(order="F")).hexdigest()
    exact = float(header["scl_slope"]), float(header["scl_inter"])  # what the file can hold: single precision
    return Volume(stored, *exact, np.asarray(affine, float), header, None, digest)


def _load(path: Path) -> Volume:
    """Header, affine and stored numbers of one file; the checks that hold for scans and masks alike."""
    where = str(path)
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise UserError(what, where=where, remedy="give the path of a NIfTI file (.nii or .nii.gz)")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if zipped else file
            header = _read_header(stream, where)
            shape, slope, inter, affine = _interpret(header, where)
            raw = _read_numbers(stream, header, shape, where)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            "the compressed file is cut short or damaged", where=where, remedy="copy or download the file again"
        ) from error
    except OSError as error:
        raise UserError(f"the file cannot be read ({error.strerror or error})", where=where, remedy=_RESAVE) from error
    return Volume(raw, slope, inter, affine, header, path, digest)


def _read_header(stream: BinaryIO | gzip.GzipFile, where: str) -> nib.Nifti1Header:
    """The header exactly as stored; nothing in it is repaired."""
    block = stream.read(540)
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    two = 540 in sizes
    magic = block[4:8] if two else block[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise UserError("this is a header without its image (.hdr/.img pair)", where=where, remedy=_RESAVE)
    length = 540 if two else 348
    if not (348 in sizes or two) or magic[:3] != (b"n+2" if two else b"n+1"):
        what = "the file is empty" if not block else "this is not a NIfTI file"
        raise UserError(what, where=where, remedy=_RESAVE)
    if len(block) < length:
        raise UserError(
            f"the header is cut short after {len(block)} bytes", where=where, remedy="copy or download the file again"
        )
    kind = nib.Nifti2Header if two else nib.Nifti1Header
    order = "<" if int.from_bytes(block[:4], "little") == length else ">"
    return kind(block[:length], endianness=order, check=False)


def _interpret(header: nib.Nifti1Header, where: str) -> tuple[tuple[int, int, int], float, float, NDArray]:
    """Shape, slope, intercept and affine in mm, or UserError."""
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise UserError(f"the number type {int(header['datatype'])} is unknown", where=where, remedy=_RESAVE) from error
    if dtype.name not in STORED_TYPES:
        kind = "colours" if dtype.names else "complex numbers" if dtype.kind == "c" else f"of number type {dtype.name}"
        raise UserError(
            f"the voxels are {kind}", where=where, remedy="save the image with one integer or real number a voxel"
        )
    count = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1 : count + 1]] if 1 <= count <= 7 else []
    text = " x ".join(map(str, sizes)) or "nothing"
    if any(n < 1 for n in sizes) or not sizes:
        raise UserError(f"the header gives an impossible size ({text})", where=where, remedy=_RESAVE)
    if len(sizes) < 3 or 1 in sizes[:3]:
        raise UserError(f"the image has {text} voxels, a single slice or less", where=where, remedy="give a 3-d volume")
    if any(n > 1 for n in sizes[3:]):
        raise UserError(
            f"the image has {text} voxels, so it holds {int(np.prod(sizes[3:], dtype=object))} volumes",
            where=where,
            remedy="save the volume you want as a 3-d file",
        )
    shape = (sizes[0], sizes[1], sizes[2])
    if shape[0] * shape[1] * shape[2] * dtype.itemsize > MAX_BYTES:
        raise UserError(
            f"the header asks for {text} voxels, more than {MAX_BYTES / 2**30:g} GiB", where=where, remedy=_RESAVE
        )
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        slope, inter = 1.0, 0.0
    elif not np.isfinite(inter):
        raise UserError(f"the intercept of the scaling is {inter}", where=where, remedy=_RESAVE)
    return shape, slope, inter, _affine_mm(header, where)


def _affine_mm(header: nib.Nifti1Header, where: str) -> NDArray:
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_best_affine(), float).copy()
    except (HeaderDataError, ValueError) as error:
        raise UserError(f"the orientation in the header is invalid ({error})", where=where, remedy=_RESAVE) from error
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    sizes = spacing_of(affine) if np.isfinite(affine).all() else (np.nan,) * 3
    if not all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in sizes):
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise UserError(
            f"the voxel size is {shown} mm, outside {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm",
            where=where,
            remedy="correct the voxel size or its unit in the header",
        )
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-2:
        raise UserError(
            "two axes of the image point the same way (the affine is singular)",
            where=where,
            remedy="correct the sform or qform of the file",
        )
    return affine


def _read_numbers(
    stream: BinaryIO | gzip.GzipFile, header: nib.Nifti1Header, shape: tuple[int, int, int], where: str
) -> NDArray:
    """The stored numbers in native byte order; one copy in memory."""
    dtype = header.get_data_dtype()
    offset = float(header["vox_offset"])
    first = header["sizeof_hdr"].item() + 4
    if not np.isfinite(offset) or not (offset == 0 or first - 4 <= offset < 2**31):
        raise UserError(f"the header places the voxels at byte {offset:g}", where=where, remedy=_RESAVE)
    stream.seek(int(offset) or first)
    need = int(np.prod(shape)) * dtype.itemsize
    buffer = io.BytesIO()  # grows with what is there, not with what a header promises
    while buffer.tell() < need and (piece := stream.read(min(need - buffer.tell(), 2**22))):
        buffer.write(piece)
    if buffer.tell() < need:
        raise UserError(
            f"the file is cut short: {buffer.tell():,} of {need:,} bytes of voxels",
            where=where,
            remedy="copy or download the file again",
        )
    if isinstance(stream, gzip.GzipFile):  # the checksum stands at the end
        for _ in range(16):
            if not stream.read(2**22):
                break
        else:
            raise UserError("more than 64 MB follow the voxels", where=where, remedy=_RESAVE)
    raw = np.frombuffer(buffer.getbuffer(), dtype).reshape(shape, order="F")
    if not dtype.isnative:
        raw = raw.byteswap().view(dtype.newbyteorder("="))
    raw.flags.writeable = False
    return raw


def _refuse_unless_finite(volume: Volume) -> None:
    if volume.raw.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):  # minimum and maximum carry a NaN along; the mask below is only for the message
        if np.isfinite(volume.raw.min()) and np.isfinite(volume.raw.max()):
            return
        bad = volume.raw.size - np.count_nonzero(np.isfinite(volume.raw))
    raise UserError(
        f"{bad:,} of {volume.raw.size:,} voxels are NaN or infinite",
        where=str(volume.path or ""),
        remedy="replace them, for example by 0 outside the head",
    )


def _require_grid(volume: Volume, like: Volume, this: str, other: str) -> None:
    where, remedy = str(volume.path or ""), f"resample {this} to the grid of {other}"
    if volume.shape != like.shape:
        raise UserError(f"{this} has shape {volume.shape}, {other} {like.shape}", where=where, remedy=remedy)
    if same_grid(like.shape, like.affine, volume.shape, volume.affine):
        return
    if volume.orientation != like.orientation:
        what = f"the axes of {this} run to {volume.orientation}, those of {other} to {like.orientation}"
    else:
        what = f"{this} lies up to {grid_distance(like.shape, like.affine, volume.affine):.3g} mm away from {other}"
    raise UserError(f"{what} (their affines differ)", where=where, remedy=remedy)
