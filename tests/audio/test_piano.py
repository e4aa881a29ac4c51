"""The score network's view of a roll as pictures over pitch and time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domains.audio.controls.chords import Chord
from domains.audio.score import piano, roll, wishes
from domains.audio.score.model import key_vector
from domains.audio.score.piano import LOWEST, NETWORK, PARTS, PICTURES, ROWS, STRUCK, Piano, places
from domains.audio.score.train import new_network

torch.set_num_threads(1)
STEPS = 32
TINY = replace(NETWORK, channels=(8, 8, 8))


def told(steps: int = STEPS, **parts: Any) -> dict[str, Tensor]:
    """Conditions of one row: the lines that are asked, all of them bound."""
    asked = wishes.of_lines(steps, **parts)
    bound = np.ones((len(wishes.KINDS), steps), np.float32)
    return {
        "wishes": torch.from_numpy(wishes.joined(asked, bound))[None],
        "written": torch.zeros(1, len(roll.LANES), steps),
        "key": torch.from_numpy(key_vector({0, 2, 4, 5, 7, 9, 11}, 0))[None],
        "tempo": torch.zeros(1, 2),
        "genre": torch.tensor([3]),
        "mood": torch.tensor([-1]),
    }


def test_every_channel_of_a_roll_has_a_place_of_its_own_in_the_pictures() -> None:
    part, row = places()
    assert len(part) == len(row) == roll.CHANNELS
    assert len({(int(p), int(r)) for p, r in zip(part, row, strict=True)}) == roll.CHANNELS
    assert int(part.max()) == PARTS - 1 and int(row.min()) >= 0 and int(row.max()) < ROWS
    melody = roll.LANES[0]
    assert row[: len(melody.pitches)].tolist() == [pitch - LOWEST for pitch in melody.pitches]


def test_a_network_that_says_what_it_sees_gives_the_roll_back() -> None:
    class Echo(nn.Module):
        def forward(self, x: Tensor, time: Tensor, cond: Any) -> Tensor:
            return torch.cat([x[:, :PARTS], x[:, list(STRUCK)]], dim=1)

    x = torch.randn(1, 2 * roll.CHANNELS, STEPS + 12)
    said, loudness = Piano(Echo())(x, torch.zeros(1), told(STEPS + 12))
    assert torch.equal(said, x[:, : roll.CHANNELS])  # 44 sixteenths are no whole number of 16
    struck = torch.isfinite(loudness)
    assert torch.equal(loudness[struck], said[struck])
    onsets = np.concatenate([[True] * len(la.pitches) + [False] * (la.channels - len(la.pitches)) for la in roll.LANES])
    assert struck[0, :, 0].tolist() == onsets.tolist()


def test_a_wish_for_a_tone_is_a_line_at_that_tone_of_every_octave() -> None:
    shown = Piano(nn.Identity()).pictures(told(melody=[(4, 8, 69)]), STEPS)[0, 0]
    rows = {int(r) for r in torch.nonzero(shown.sum(1))[:, 0]}
    assert rows == {pitch - LOWEST for pitch in range(LOWEST, LOWEST + ROWS) if pitch % 12 == 9}
    assert shown.sum(0).nonzero()[:, 0].tolist() == [4, 5, 6, 7]


def test_a_chord_is_its_tones_and_its_root_and_a_key_its_scale_and_its_tonic() -> None:
    chords = [Chord.named("D:min7", 0.0, 1.0)] * STEPS
    shown = Piano(nn.Identity()).pictures(told(chords=chords), STEPS)[0]

    def classes(picture: int) -> set[int]:
        return {(int(r) + LOWEST) % 12 for r in torch.nonzero(shown[picture, :, 0])[:, 0]}

    assert classes(1) == {2, 5, 9, 0} and classes(2) == {2}
    assert classes(3) == {0, 2, 4, 5, 7, 9, 11} and classes(4) == {0}


def test_no_key_is_no_line_and_says_so() -> None:
    cond = told()
    given = Piano(nn.Identity()).pictures(cond, STEPS)
    without = Piano(nn.Identity()).pictures(cond | {"key": torch.full((1, 24), torch.nan)}, STEPS)
    assert given.shape[1] == PICTURES and torch.isfinite(without).all()
    assert (without[:, 3:5] == 0).all()
    different = (given != without).flatten(2).any(2)[0]
    assert different.nonzero()[:, 0].tolist() == [3, 4, PICTURES - len(roll.LANES) - 1]


def test_a_genre_that_is_not_told_changes_what_is_said_and_stays_finite() -> None:
    network = new_network(TINY).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
        x = torch.randn(1, 2 * roll.CHANNELS, STEPS)
        cond = told()
        one = Piano(network)(x, torch.full((1,), 0.5), cond)[0]
        other = Piano(network)(x, torch.full((1,), 0.5), cond | {"genre": torch.tensor([-1])})[0]
    assert torch.isfinite(one).all() and not torch.equal(one, other)


def test_the_drums_of_the_kit_fit_the_rows() -> None:
    assert max(len(lane.pitches) for lane in roll.LANES) <= piano.ROWS
    assert all(LOWEST <= pitch < LOWEST + ROWS for lane in roll.LANES if lane.held for pitch in lane.pitches)


def test_what_was_made_of_conditions_is_handed_out_again_until_they_change() -> None:
    network, cond, x = Piano(nn.Identity()), told(), torch.zeros(1, 2 * roll.CHANNELS, STEPS)
    first = network.told(cond, x, STEPS)
    assert network.told(dict(cond), x, STEPS) is first
    assert network.told(cond, x.double(), STEPS)["asked"].shape == first["asked"].shape
    cond["wishes"].zero_()  # in place
    assert not torch.equal(network.told(cond, x, STEPS)["asked"], first["asked"])
    other = network.told({**cond, "mood": torch.tensor([2])}, x, STEPS)
    assert other["mood"].argmax() == 2
    assert network.told({**cond, "mood": cond["mood"].clone()}, x, STEPS) is not other
    with torch.inference_mode():
        assert network.told(told(), x, STEPS)["asked"].shape == first["asked"].shape
