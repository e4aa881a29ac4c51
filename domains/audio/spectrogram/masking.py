"""Which controls bind in which frames of a training clip: the masking of Music ControlNet (Wu et al. 2023).

    a random subset of the controls is dropped; that all are, or none is, happens more often than by independent coins
    with probability 1/2: of every control that is left, a span between two uniform frames is dropped, too

so that the model learns to invent what is not said, in a part of the clip or in all of it. The paper does not publish
how often all or none are dropped; a tenth of the clips each is ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE_SAID, ALL_SAID = 0.1, 0.1  # chance of each, beside the coins
PARTIAL: Final = 0.5  # chance that spans are dropped


def draw_bound(rng: np.random.Generator, controls: int, frames: int, *, partial: float = PARTIAL) -> NDArray[np.bool_]:
    """(controls, frames) where each control binds; partial=0 is the paper's "full" scheme, without spans."""
    first = rng.random()
    if first < NONE_SAID:
        said = np.zeros(controls, dtype=bool)
    elif first < NONE_SAID + ALL_SAID:
        said = np.ones(controls, dtype=bool)
    else:
        said = rng.random(controls) < 0.5
    bound = np.repeat(said[:, None], frames, axis=1)
    if frames > 1 and rng.random() < partial:
        for row in np.flatnonzero(said):
            start, end = np.sort(rng.choice(frames, size=2, replace=False))
            bound[row, start : end + 1] = False
    return bound
