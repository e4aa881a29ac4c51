"""The proof of the spectrogram engine: takes of any lengths in their order, ceilings that are what is asked, tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.proof.spectrogram_control import Studio, halved, moved, share, table
from domains.audio.controls import created
from domains.audio.controls.frames import RATE
from domains.audio.evaluate import ClipScores
from domains.audio.spectrogram.level import heard_levels
from domains.audio.spectrogram.mel import MELS
from tests.audio.test_spectrogram import LENGTH, plain, wishes, woken


def test_takes_of_several_lengths_come_in_the_order_in_which_they_were_asked() -> None:
    studio = Studio(woken("unet"), plain, lambda note: None)
    asks = [wishes(length=LENGTH), wishes(length=2 * LENGTH), wishes(length=LENGTH)]
    takes = studio.takes(asks, first=5)
    assert [len(take.wave) for take in takes] == [one.samples(RATE) for one in asks]
    (alone,) = studio.takes([wishes(length=LENGTH)], first=7)
    np.testing.assert_allclose(takes[2].levels, alone.levels, atol=1e-3)


def test_the_ceiling_of_a_curve_is_as_loud_as_the_curve_asks() -> None:
    one = created.curves(-30.0)["tanh up 12 dB"]
    levels = -60 + 5 * torch.randn(MELS, 512, generator=torch.Generator().manual_seed(0))
    assert one.dynamics is not None
    asked = one.dynamics.at(np.arange(512) * 256 / RATE)
    heard = heard_levels(moved(levels, one)).numpy()
    assert float(np.mean((heard - asked) ** 2)) < 0.1 < float(np.mean((heard_levels(levels).numpy() - asked) ** 2))


def test_half_of_a_clip_is_asked_in_its_first_half_alone() -> None:
    (span,) = halved(wishes()).bound("melody")
    assert span.start == 0 and span.end == pytest.approx(LENGTH / 2)


def clip(melody: float, error: float) -> ClipScores:
    nothing = np.zeros(0)
    return ClipScores(melody, None, error, None, None, None, None, nothing, nothing)


def test_the_share_of_control_lies_between_uncontrolled_and_the_ceiling_also_where_less_is_better() -> None:
    rows = {
        "chance": [clip(0.1, 90.0), clip(0.1, 90.0)],
        "uncontrolled": [clip(0.1, 40.0), clip(0.1, 40.0)],
        "controlled": [clip(0.4, 10.0), clip(0.6, 10.0)],
        "ceiling": [clip(0.9, 0.0), clip(0.9, 0.0)],
    }
    assert share(rows, "melody") == pytest.approx(0.5) and share(rows, "level_error") == pytest.approx(0.75)
    lines = {line[0]: line[1:] for line in table(rows, ["melody", "level_error"])["rows"]}
    assert lines["controlled"] == [pytest.approx(0.5), 10.0] and lines["control share"][0] == pytest.approx(0.5)
    assert share({**rows, "ceiling": rows["uncontrolled"]}, "melody") is None
