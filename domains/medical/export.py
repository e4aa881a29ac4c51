"""NIfTI out: the file that came in, with only the changed voxels changed, and a record of who changed them.

What is kept to the byte: the header fields (shape, affine and their codes, units, number type, scaling, byte order)
and every stored number whose value did not change. What is replaced: `descrip`, which begins with SYNTHETIC for
synthetic data; `aux_file`, `db_name`, `intent_name` and header extensions of the source, which may name a patient, are
left out. Provenance is written twice, as a comment extension (code 6, JSON) and as a `.json` file beside the image.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from domains.medical.data import Volume
from shared.errors import UserError
from shared.front.atomic import write_atomic

COMMENT = 6  # NIfTI extension code for plain text
SYNTHETIC = "SYNTHETIC"
ROUNDING = "changed voxels were rounded to the nearest stored number and clipped to the range of its type"


@dataclass(frozen=True)
class Written:
    """What was written: the image, its sidecar, and how many voxels changed or had to be clipped."""

    path: Path
    sidecar: Path
    changed: int
    clipped: int


def write_volume(
    like: Volume,
    data: NDArray,
    path: str | Path,
    *,
    provenance: Mapping[str, object] | None = None,
    synthetic: bool,
    stored: bool = False,
    protect: Iterable[str | Path] = (),
    force: bool = False,
) -> Written:
    """A scan with the header and the number type of `like`.

    data        (shape of like) values; voxels that equal `like.values` keep their stored bytes
    path        .nii or .nii.gz; synthetic data gets the prefix `syn_` if the name lacks it
    provenance  JSON-ready mapping; what this function knows (source hash, counts, rounding) joins it under `image`
    stored      `data` are stored numbers of the type of `like`, not values
    protect     other inputs of the run, which must never be replaced (the file of `like` is always among them)
    force       replace an existing output

    Raises UserError when the target exists, is an input, or cannot be written; then nothing is left behind.
    """
    raw, clipped = (_exactly_stored(like, data), 0) if stored else to_stored(like, data)
    changed = sum(int(np.count_nonzero(raw[..., k] != like.raw[..., k])) for k in range(like.shape[2]))
    record = {
        **(provenance or {}),
        "synthetic": synthetic,
        "image": {
            "source_sha256": like.sha256,
            "stored_type": raw.dtype.name,
            "scaling": {"slope": like.slope, "intercept": like.inter},
            "changed_voxels": changed,
            "clipped_voxels": clipped,
            "rounding": ROUNDING,
            "source_extensions": "not copied",
        },
    }
    header = _fresh_header(like, "synthetic data, not a patient" if synthetic else "", synthetic)
    target, sidecar = _write(header, raw, path, record, synthetic, (like.path, *protect), force)
    return Written(target, sidecar, changed, clipped)


def write_label(
    like: Volume,
    labels: NDArray,
    path: str | Path,
    *,
    provenance: Mapping[str, object] | None = None,
    synthetic: bool,
    protect: Iterable[str | Path] = (),
    force: bool = False,
) -> Written:
    """Whole-number labels (bool or integer, 0 is background) on the grid of `like`, unscaled, uint8 or uint16.

    The other arguments are those of `write_volume`; the prefix is added likewise.
    """
    if labels.shape != like.shape:
        raise ValueError(f"the labels have shape {labels.shape}, the grid {like.shape}")
    low, high = int(labels.min()), int(labels.max())
    if labels.dtype.kind not in "biu" or low < 0 or high > 65535:
        raise ValueError(f"labels must be whole numbers from 0 to 65535, not {labels.dtype} from {low} to {high}")
    raw = labels.astype(np.uint8 if high < 256 else np.uint16)
    record = {
        **(provenance or {}),
        "synthetic": synthetic,
        "label": {
            "grid_sha256": like.sha256,
            "values": sorted(int(v) for v in np.unique(raw)),
            "labelled_voxels": int(np.count_nonzero(raw)),
        },
    }
    header = _fresh_header(like, "label map", synthetic)
    header.set_data_dtype(raw.dtype)
    header["scl_slope"], header["scl_inter"], header["cal_min"], header["cal_max"] = 1, 0, 0, 0
    target, sidecar = _write(header, raw, path, record, synthetic, (like.path, *protect), force)
    return Written(target, sidecar, int(np.count_nonzero(raw)), 0)


def to_stored(like: Volume, values: NDArray) -> tuple[NDArray, int]:
    """Values to stored numbers: `(value - inter) / slope`, rounded and clipped to the type of `like`.

    Voxels that equal `like.values` keep their stored number. Returns the numbers and how many voxels were clipped.
    Raises UserError on a value that is NaN or infinite.
    """
    if values.shape != like.shape:
        raise ValueError(f"the values have shape {values.shape}, the volume {like.shape}")
    before = like.values
    out, clipped = np.array(like.raw, order="F"), 0
    for k in range(like.shape[2]):
        where = values[..., k] != before[..., k]
        if not where.any():
            continue
        wanted = (values[..., k][where].astype(np.float64) - like.inter) / like.slope
        if not np.isfinite(wanted).all():
            raise UserError(
                f"slice {k} of the result holds a NaN or infinite value",
                remedy="report this: nothing was written",
            )
        low, high = _range_of(out.dtype)
        clipped += int(np.count_nonzero((wanted < low) | (wanted > high)))
        wanted = np.clip(wanted, low, high)
        out[..., k][where] = (np.rint(wanted) if out.dtype.kind in "iu" else wanted).astype(out.dtype)
    return out, clipped


def _range_of(dtype: np.dtype) -> tuple[float, float]:
    """The limits of a number type that double precision can name without leaving the type."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= info.max else float(np.nextafter(high, 0))


def _exactly_stored(like: Volume, data: NDArray) -> NDArray:
    if data.shape != like.shape or data.dtype != like.raw.dtype:
        raise ValueError(f"stored numbers must be {like.raw.dtype} {like.shape}, not {data.dtype} {data.shape}")
    return data


def _fresh_header(like: Volume, note: str, synthetic: bool) -> nib.Nifti1Header:
    """The header of `like` without the fields that may name a patient."""
    header = like.header.copy()
    text = f"{SYNTHETIC} {note}" if synthetic else note
    header["descrip"] = text.strip().encode("ascii", "replace")[:79]
    header["aux_file"] = b""
    header["intent_name"] = b""
    if "db_name" in header.structarr.dtype.names:  # NIfTI-1 only
        header["db_name"] = b""
    return header


def _targets(path: str | Path, synthetic: bool) -> tuple[Path, Path]:
    path = Path(path)
    ending = next((e for e in (".nii.gz", ".nii") if path.name.lower().endswith(e)), "")
    if not ending or path.name.lower() == ending:
        raise UserError(
            f"the output name {path.name!r} does not end in .nii or .nii.gz",
            where=str(path),
            remedy="name the output NAME.nii.gz",
        )
    name = path.name if not synthetic or path.name.startswith("syn_") else f"syn_{path.name}"
    return path.with_name(name), path.with_name(name[: -len(ending)] + ".json")


def _write(
    header: nib.Nifti1Header,
    raw: NDArray,
    path: str | Path,
    record: Mapping[str, object],
    synthetic: bool,
    inputs: Iterable[str | Path | None],
    force: bool,
) -> tuple[Path, Path]:
    target, sidecar = _targets(path, synthetic)
    for out in (target, sidecar):
        if not out.exists() and not out.is_symlink():
            continue
        if any(source is not None and _same_file(out, Path(source)) for source in inputs):
            raise UserError("the output would replace its own input", where=str(out), remedy="choose another name")
        if not force:
            raise UserError("the output exists already", where=str(out), remedy="choose another name, or allow force")
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)

    def fill(temporary: Path) -> None:
        _stream(temporary, header, raw, text, target.name.lower().endswith(".gz"))
        write_atomic(sidecar, text + "\n")  # the image is whole by now, and takes its name next

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, fill)
    except OSError as error:
        raise UserError(
            f"the file could not be written ({error.strerror or error})",
            where=str(target),
            remedy="free disk space, or choose a folder you may write to",
        ) from error
    return target, sidecar


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)


def _stream(path: Path, header: nib.Nifti1Header, raw: NDArray, text: str, zipped: bool) -> None:
    """Header, extension and voxels, a slice at a time; compressed without a date, so equal data give equal bytes."""
    extension = io.BytesIO()
    nib.nifti1.Nifti1Extension(COMMENT, text.encode()).write_to(extension, header.endianness != _NATIVE)
    header["vox_offset"] = header["sizeof_hdr"].item() + 4 + len(extension.getvalue())
    order = raw.dtype.newbyteorder(header.endianness)
    with path.open("wb") as file, contextlib.ExitStack() as stack:
        out = stack.enter_context(gzip.GzipFile("", "wb", 4, file, mtime=0)) if zipped else file
        out.write(header.binaryblock + b"\1\0\0\0" + extension.getvalue())
        for k in range(raw.shape[2]):
            out.write(raw[..., k].astype(order, copy=False).tobytes(order="F"))


_NATIVE = "<" if np.little_endian else ">"
