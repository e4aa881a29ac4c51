"""The words of the page: what is loaded, what is drawn, and the explanation for clinicians."""

from __future__ import annotations

import html
from typing import Final

import numpy as np

from domains.medical.drawing import volume_ml
from domains.medical.lesions.placement import LONGEST_MM
from domains.medical.page.visit import EXAMPLE, Visit

EXPLAIN: Final = f"""
**What happens.** You mark a place. The model takes the scan around it, replaces only the voxels inside your mask by
noise, and removes the noise again in many small steps. At every step it sees the real tissue around the mask, so the
lesion fits its surroundings. This is lesion-focused diffusion (LeFusion, Zhang et al. 2025). At the end the new voxels
are put into the scan; **every voxel outside the mask keeps its stored number to the bit**, and the label of the new
lesion is your mask.

**Jumps.** After a few steps the method goes a little way back up in noise and comes down again. Each return lets
tissue and lesion adapt to one another. *Repeats* says how often each stretch is walked, *Jump* how long it is. More of
both costs more calls of the network; 1 repeat means no jumps.

**Texture.** The grey values of a lesion are asked for as a histogram: which share of its voxels has which brightness,
measured on a scale of the scan itself (0 is the median of the brain). *Faint*, *typical* and *bright* are each one real
lesion: how far its edge and its core stood out from the tissue around it, set upon the tissue around yours. *Texture
guidance* moves the values of the new lesion, in their order, towards those histograms while the noise falls: 0 leaves
them as the network makes them, 1 meets them exactly. It costs no call. The quality table says how far the made
histogram lies from the one asked for.

**Quality.** Three figures for every lesion, each beside the range that real lesions span: the step of the grey values
across its edge (too strong a step is a visible seam, too weak a lesion melts away), the distance of its histogram from
the one asked for, and its likeness to any patch of a training scan (a copy of a training lesion would be caught here).
A lesion that fails is drawn again, three times at most, and the report says so.

**Limits.**
- The model learned from very few people with multiple sclerosis and from computed phantoms, at 1 mm, skull-stripped.
  On anything else its lesions may look right and be wrong; the comparison with the training scans warns, it proves
  nothing.
- A lesion changes only what lies inside the mask: no swelling, no pushed tissue, no atrophy.
- A lesion up to {LONGEST_MM:.0f} mm is taken; large ones are further from what the model has seen.
- The pictures here are for a first look. Judge the saved NIfTI files in your own viewer.
- Never send synthetic images to a clinical archive. The files say SYNTHETIC in header, name and sidecar.

**Drawing.** The brush is a ball: a stroke becomes a tube with round ends in all three planes. A voxel belongs to it
when its centre lies within half the diameter of your line. The small planes show at once what the stroke does in depth.
"""

REPLAY: Final = """
A sidecar (`syn_FLAIR.json`, `report.json`) or a NIfTI file that this app wrote sets everything here as it was in that
run. Scans stay on your computer: load them on the left, and the same seed gives the same lesions.
"""

AGAIN: Final = """
The command does what *Run* did, with the same seed and the same lesions. Put your files in place of their names; a mask
that was drawn here is saved as `syn_lesions.nii.gz` (`syn_01_lesions.nii.gz` with several variations).
"""


def loaded(visit: Visit) -> str:
    """What is loaded: contrasts, size, spacing, orientation."""
    scan, lead = visit.scan, visit.scan.lead
    size = " × ".join(map(str, lead.shape))
    spacing = " × ".join(f"{edge:.3g}" for edge in lead.spacing)
    own = EXAMPLE not in scan.sources.values()
    name = "Your scan" if own else "Example: a computed brain with lesions, nobody's"
    words = [f"<strong>{name}.</strong> {', '.join(scan.ras)}; {size} voxels of {spacing} mm; axes {lead.orientation}."]
    if not lead.orientation_known:
        words.append("<strong>The file does not say where left and right are; the letters are a guess.</strong>")
    turn = _turn(scan.affine)
    if turn > 1:
        words.append(f"The scan is turned by {turn:.0f}° against the planes; the letters name the nearest direction.")
    trouble = (
        f'<p role="alert" class="status-error">Please check: {html.escape(visit.trouble)}</p>' if visit.trouble else ""
    )
    return f'{trouble}<p id="loaded">{" ".join(words)}</p>'


def drawn(visit: Visit) -> str:
    """The mask in words: how many lesions, their volume, how much lies outside the brain."""
    from scipy import ndimage

    mask = visit.mask
    if not mask.any():
        return '<p id="mask-words" role="status">The mask is empty: paint, or put a ball at the cross-hair.</p>'
    bounds = tuple(slice(int(r.min()), int(r.max()) + 1) for r in np.nonzero(mask))
    count = int(ndimage.label(mask[bounds], np.ones((3, 3, 3)))[1])
    longest = max((s.stop - s.start) * edge for s, edge in zip(bounds, visit.scan.spacing, strict=True))
    outside = volume_ml(mask & ~visit.scan.brain, visit.scan.affine)
    words = f"Mask: {count} lesion{'s' if count > 1 else ''}, <strong>{visit.mask_ml():.2f} mL</strong>"
    words += f", {longest:.0f} mm long." if count == 1 else "."
    if outside:
        words += f" {outside:.2f} mL lie outside the brain: erase them, or allow it under More."
    return f'<p id="mask-words" role="status">{words}</p>'


def _turn(affine: np.ndarray) -> float:
    """Largest angle in degrees between a voxel axis and its anatomical direction."""
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.diag(columns), -1, 1))).max())
