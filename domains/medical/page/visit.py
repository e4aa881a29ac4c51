"""What one visitor of the page has before a run: the loaded scan and the mask as it was drawn.

It lives in the visitor's own Gradio state, is never shared, and is emptied when the tab is closed.
"""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from domains.medical.data import Volume, read_contrasts, read_labels, read_mask
from domains.medical.drawing import stroke, volume_ml
from domains.medical.geometry import spacing_of
from domains.medical.lesions.conditioning import CONTRASTS, brain_mask
from domains.medical.page.viewer import Look
from domains.medical.windows import Window, presets
from shared.errors import UserError

EXAMPLE = "example:brain"
MOST_UNDO = 12  # masks kept, packed to a bit a voxel: 11 MB for a brain at 1 mm
_LOADING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as the page shows it; read-only, so the example is shared by all visitors.

    ras         contrast -> (RAS shape) float32;  affine  of the RAS frame;  brain  (RAS shape) bool
    mask        the mask that came with it, existing  lesions that it has already, (RAS shape) bool
    sources     contrast -> uploaded path or example;  mask_source, label_source  likewise, "" for none
    windows     contrast -> presets
    """

    volumes: Mapping[str, Volume]
    ras: Mapping[str, NDArray]
    affine: NDArray
    brain: NDArray
    mask: NDArray
    existing: NDArray | None
    sources: Mapping[str, str]
    mask_source: str
    label_source: str
    windows: Mapping[str, Mapping[str, Window]]

    @property
    def shape(self) -> tuple[int, int, int]:
        a, b, c = self.brain.shape
        return a, b, c

    @property
    def spacing(self) -> tuple[float, float, float]:
        return spacing_of(self.affine)

    @property
    def lead(self) -> Volume:
        return next(iter(self.volumes.values()))

    def centre(self) -> tuple[int, int, int]:
        """A voxel to look at first: in the middle of the mask, else of the brain."""
        return middle(self.mask if self.mask.any() else self.brain)


def middle(mask: NDArray) -> tuple[int, int, int]:
    """The voxel of a mask nearest to its mean, (0, 0, 0) for an empty one."""
    places = np.argwhere(mask)
    if not len(places):
        return 0, 0, 0
    nearest = places[np.argmin(((places - places.mean(0)) ** 2).sum(1))]
    return int(nearest[0]), int(nearest[1]), int(nearest[2])


@cache
def _example() -> Scan:
    from domains.medical.synthesis import built_in_example

    made = built_in_example(EXAMPLE.partition(":")[2])
    names = [name for name in CONTRASTS if name in made.volumes]
    return _scan(
        {name: made.volumes[name] for name in names}, made.mask, made.existing, dict.fromkeys(names, EXAMPLE), EXAMPLE
    )


def example() -> Scan:
    """The built-in example, made once a process."""
    with _LOADING:
        return _example()


def uploaded(images: Mapping[str, str | None], mask: str | None, label: str | None) -> Scan:
    """A visitor's own files, checked. Raises UserError with the sentence that the page shows."""
    paths = {name: images[name] for name in CONTRASTS if images.get(name)}
    if not paths:
        raise UserError("no scan was given", where="your own scan", remedy="upload a FLAIR, T1 or T2 image first")
    try:
        volumes = read_contrasts({name: str(path) for name, path in paths.items()})
        lead = next(iter(volumes.values()))
        drawn = read_mask(mask, lead) if mask else np.zeros(lead.shape, bool)
        existing = read_labels(label, lead) if label else None
    except UserError as error:
        raise UserError(error.what, where=Path(error.where).name, remedy=error.remedy) from None
    return _scan(volumes, drawn, existing, {n: str(p) for n, p in paths.items()}, mask or "", label or "")


def _scan(
    volumes: Mapping[str, Volume],
    mask: NDArray,
    existing: NDArray | None,
    sources: Mapping[str, str],
    mask_source: str,
    label_source: str = "",
) -> Scan:
    frame = next(iter(volumes.values())).frame
    ras = {name: frame.to_ras(volume.values) for name, volume in volumes.items()}
    return Scan(
        volumes,
        ras,
        frame.affine,
        brain_mask(next(iter(ras.values()))),
        frame.to_ras(np.asarray(mask, bool)),
        None if existing is None else frame.to_ras(np.asarray(existing) > 0),
        sources,
        mask_source,
        label_source,
        {name: presets(values) for name, values in ras.items()},
    )


@dataclass(eq=False)
class Visit:
    """One visitor: the scan, the mask being edited, what can be undone, and what is wrong with the last upload.

    moment   the number that the visitor's browser gave to the newest thing it asked for;  look  that was asked with it
    """

    scan: Scan
    mask: NDArray = field(init=False)
    edited: bool = False
    trouble: str = ""
    moment: float = 0.0
    look: Look | None = None
    _before: list[tuple[NDArray, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mask = self.scan.mask.copy()

    def newest(self, moment: float, look: Look | None = None) -> bool:
        """Whether nothing later than this has been asked for; if so it is remembered, with its look."""
        if moment < self.moment:
            return False
        self.moment, self.look = moment, look or self.look
        return True

    def load(self, scan: Scan) -> None:
        """Another scan, with its own mask; what was asked of the last one is out of date."""
        self.scan, self.mask, self.edited, self.trouble = scan, scan.mask.copy(), False, ""
        self.moment, self.look = self.moment + 0.5, None
        self._before.clear()

    def paint(
        self, points: NDArray | Sequence[Sequence[float]], diameter_mm: float, *, erase: bool, inside: bool
    ) -> None:
        """Add a stroke to the mask, or take it away; `inside` leaves out voxels outside the brain."""
        drawn = stroke(self.scan.shape, self.scan.spacing, points, diameter_mm)
        if erase:
            self._change(self.mask & ~drawn)
        else:
            self._change(self.mask | (drawn & self.scan.brain if inside else drawn))

    def clear(self) -> None:
        """An empty mask."""
        self._change(np.zeros(self.scan.shape, bool))

    def restore(self) -> None:
        """The mask that came with the scan."""
        self._change(self.scan.mask.copy(), edited=False)

    def undo(self) -> None:
        """The mask before the last change."""
        if self._before:
            packed, self.edited = self._before.pop()
            self.mask = np.unpackbits(packed, count=self.mask.size).astype(bool).reshape(self.scan.shape)

    def _change(self, mask: NDArray, *, edited: bool = True) -> None:
        self._before = [*self._before[-(MOST_UNDO - 1) :], (np.packbits(self.mask), self.edited)]
        self.mask, self.edited = mask, edited

    def forget(self) -> None:
        """Let go of everything that came from the visitor."""
        self.load(example())

    def values(self) -> dict[str, object]:
        """The options of a run that the page itself holds: scans, mask and the lesions that are there already.

        A mask as it came is named, an edited one handed over as a file. Raises UserError when there is nothing to do.
        """
        if self.trouble:
            raise UserError(self.trouble, remedy="mend or remove that file first")
        if not self.mask.any():
            raise UserError(
                "the mask is empty, so there is no place for a lesion",
                where="lesion mask",
                remedy="paint on a plane, put a ball at the cross-hair, or upload a mask",
            )
        mask = self.scan.mask_source if not self.edited and self.scan.mask_source else self._mask_file()
        found: dict[str, object] = {"image": dict(self.scan.sources), "mask": mask}
        return {**found, "label": self.scan.label_source} if self.scan.label_source else found

    def mask_ml(self) -> float:
        return volume_ml(self.mask, self.scan.affine)

    def _mask_file(self) -> str:
        """The mask as a NIfTI file in a data: URL, on the grid of the scan's own file."""
        lead = self.scan.lead
        stored = np.asfortranarray(lead.frame.from_ras(self.mask), np.uint8)
        body = gzip.compress(nib.Nifti1Image(stored, lead.affine).to_bytes(), 4, mtime=0)
        return f"data:application/gzip;name=drawn_mask.nii.gz;base64,{base64.b64encode(body).decode()}"
