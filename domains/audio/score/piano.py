"""The score network's view of a roll: pictures over pitch and time, so that what it learns of one pitch holds for all.

A U-Net of the core in two dimensions. Its rows are the pitches of seven octaves; the ways down go by 3 and 4, so that a
row of the coarsest level is an octave. Melody, chords and bass are channels of one picture, drums a channel whose rows
are the keys of the kit. Controls are pictures too: a wish for A is a line at every A, a chord lines at its tones and
at its roots, a key lines at its scale; what has no pitch is the same in every row. Rows know their height by waves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from domains.audio.controls.chords import QUALITIES
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.score import roll, wishes
from shared.networks.unet import UNetConfig

LOWEST, ROWS = 24, 84  # MIDI pitch of the first row; rows
PARTS: Final = 7  # onset and held of melody, chords and bass, and strokes
STRUCK: Final = (0, 2, 4, 6)  # the parts with a loudness
WHOLE: Final = 16  # sixteenths: rolls of other lengths are filled up with silence
WAVES: Final = (1, 2, 4, 8)  # periods of the waves by which a row knows its height
PICTURES: Final = 1 + 2 + 1 + 3 + len(wishes.KINDS) + 2 + 3 + len(roll.LANES)  # see `pictures`

NETWORK: Final = UNetConfig(
    dims=2,
    in_channels=2 * PARTS,
    out_channels=PARTS + len(STRUCK),
    channels=(48, 96, 128),
    blocks=1,
    patch=(1, 4),  # a quarter note of a pitch is a place: four times fewer, and every sixteenth a channel
    strides=((3, 2), (4, 2)),
    attention=(2,),
    vectors={"tempo": 2, "genre": len(GENRES), "mood": len(MOODS)},
    images={"asked": PICTURES, "height": 2 * len(WAVES)},
)


def places() -> tuple[Tensor, Tensor]:
    """The picture and the row (CHANNELS,) of each channel of a roll."""
    parts, rows, part = [], [], 0
    for lane in roll.LANES:
        own = [pitch - LOWEST for pitch in lane.pitches] if lane.held else list(range(len(lane.pitches)))
        for _ in range(2 if lane.held else 1):
            parts += [part] * len(own)
            rows += own
            part += 1
    return torch.tensor(parts), torch.tensor(rows)


class Piano(nn.Module):
    """A network on pictures (B, 2 PARTS, ROWS, T) as one on two rolls (B, 2 CHANNELS, T), with the model's conditions.

    Says two rolls (B, CHANNELS, T): of each entry, and of the loudness of each onset and stroke, NaN for what is held.
    cond   wishes (B, wishes.CHANNELS, T), written (B, lanes, T), key (B, 24) or NaN, tempo (B, 2), genre and mood (B,)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.part, self.row = places()
        loud = torch.full((PARTS,), -1)
        loud[list(STRUCK)] = torch.arange(len(STRUCK))
        self.loud = loud[self.part]
        names = list(QUALITIES)
        tones = torch.zeros(len(names), 12)
        for k, name in enumerate(names):
            tones[k, [step % 12 for step in QUALITIES[name]]] = 1
        self.tones = tones
        height = torch.arange(ROWS) / ROWS
        waves = [wave(torch.pi * n * height) for n in WAVES for wave in (torch.sin, torch.cos)]
        self.height = torch.stack(waves)[None, :, :, None]
        self.classes = (LOWEST + torch.arange(ROWS)) % 12
        self._last: tuple[tuple[Tensor, ...], tuple[object, ...], Mapping[str, Tensor]] = (), (), {}

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        rows, length = len(x), x.shape[-1]
        steps = -(-length // WHOLE) * WHOLE
        seen = x.new_zeros(rows, 2, PARTS, ROWS, steps)
        seen[:, :, self.part, self.row, :length] = x.unflatten(1, (2, -1))
        said: Tensor = self.network(seen.flatten(1, 2), time, self.told(cond, x, steps))
        loudness = said[:, PARTS + self.loud.clamp_min(0), self.row, :length]
        silent = (self.loud < 0)[:, None].to(x.device)
        return said[:, self.part, self.row, :length], loudness.masked_fill(silent, torch.nan)

    def told(self, cond: Mapping[str, Tensor], x: Tensor, steps: int) -> Mapping[str, Tensor]:
        """The conditions of the network for rolls like x, filled up to so many steps.

        All calls of a run have the same tensors as conditions: what was made of them last is handed out again.
        """
        (rows, _, length), given = x.shape, tuple(cond.values())
        versions = (
            *(0 if value.is_inference() else value._version for value in given),
            *cond,
            x.shape,
            x.dtype,
            x.device,
        )
        before, then, made = self._last
        if then == versions and all(a is b for a, b in zip(given, before, strict=True)):
            return made
        made = {
            "tempo": cond["tempo"],
            "genre": _one_hot(cond["genre"], len(GENRES)).to(x),
            "mood": _one_hot(cond["mood"], len(MOODS)).to(x),
            "asked": nn.functional.pad(self.pictures(cond, length), (0, steps - length)),
            "height": self.height.to(x).expand(rows, -1, -1, steps),
        }
        self._last = given, versions, made
        return made

    def pictures(self, cond: Mapping[str, Tensor], steps: int) -> Tensor:
        """What is asked, (B, PICTURES, ROWS, T).

        By pitch: melody, tones and root of the chord, scale, tonic. The same in every row: loudness, strokes, where
        each control binds, beats and downbeats, whether a key is given, what of each lane is written.
        """
        at, parts = 0, {}
        for name, width in (*wishes.WIDTHS.items(), ("bound", len(wishes.KINDS)), ("beats", 2)):
            parts[name] = cond["wishes"][:, at : at + width]
            at += width
        root, quality = parts["chords"][:, :12], parts["chords"][:, 12:]
        shapes = torch.einsum("bqt,qp->bpt", quality, self.tones.to(root))  # tones above the root
        tones = sum((root[:, r : r + 1] * shapes.roll(r, dims=1) for r in range(12)), torch.zeros_like(shapes))
        given = torch.isfinite(cond["key"][:, :1])
        key = torch.nan_to_num(cond["key"])[..., None].expand(-1, -1, steps)
        by_class = torch.stack([parts["melody"], tones, root, key[:, :12], key[:, 12:]], dim=1)  # (B, 5, 12, T)
        flat = [
            parts["dynamics"],
            parts["drums"],
            parts["bound"],
            parts["beats"],
            given.to(root)[..., None].expand(-1, -1, steps),
            cond["written"],
        ]
        everywhere = torch.cat(flat, dim=1)[:, :, None].expand(-1, -1, ROWS, -1)
        return torch.cat([by_class[:, :, self.classes], everywhere], dim=1)


def _one_hot(index: Tensor, count: int) -> Tensor:
    """(B, count) float32, a row of NaN for an index below 0."""
    out = nn.functional.one_hot(index.clamp_min(0), count).float()
    return torch.where(index[:, None] < 0, torch.nan, out)
