"""Sampled instruments of a soundfont (SF2, SF3) in place of the suite's own voices, through the package tinysoundfont.

    player = SoundFont("MuseScore_General_Lite.sf3", 44_100)
    render(score, 44_100, player=player)

The package is no dependency of the suite, since its metadata asks for PortAudio, which rendering does not need:
`pip install --no-deps tinysoundfont`. A soundfont's licence goes with what is made from it; MuseScore_General is MIT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.render import Part
from shared.errors import UserError

HEADROOM: Final = -6.0  # dB: soundfonts are made for one note at a time
DRUM_CHANNEL, CHANNEL = 9, 0
RINGING: Final = 2.0  # s after which a part that has ended is silenced for the next


class SoundFont:
    """A soundfont at one sample rate; called as a `Player` of synth/render.py."""

    def __init__(self, path: str | Path, rate: int) -> None:
        """Raises UserError when the package is absent or the file is no soundfont."""
        try:
            import tinysoundfont
        except ImportError:
            raise UserError(
                "tinysoundfont is not installed", where="soundfont", remedy="pip install --no-deps tinysoundfont"
            ) from None
        if not Path(path).is_file():
            raise UserError("there is no such file", where=str(path), remedy="give an .sf2 or .sf3 file")
        self.rate, self._synth = rate, tinysoundfont.Synth(gain=HEADROOM, samplerate=rate)
        try:
            self._font = self._synth.sfload(str(path))
        except Exception:  # the package raises its own and plain ones
            raise UserError("is no soundfont", where=str(path), remedy="give an .sf2 or .sf3 file") from None

    def __call__(self, part: Part, rate: int, samples: int) -> NDArray:
        """The notes of a part (samples,) float32, each begun at its own sample."""
        if rate != self.rate:
            raise UserError(f"it was loaded for {self.rate} Hz, not {rate}", where="soundfont", remedy="load it again")
        channel = DRUM_CHANNEL if part.drums else CHANNEL
        bank = 128 if part.drums else 0
        self._synth.program_select(channel, self._font, bank, 0 if part.drums else part.program, part.drums)
        out, now = np.zeros(samples, np.float32), 0
        for place, pressed, key, velocity in _events(part, rate):
            now = self._until(out, now, min(place, samples))
            if pressed:
                self._synth.noteon(channel, key, velocity)
            else:
                self._synth.noteoff(channel, key)
        self._until(out, now, samples)
        self._synth.notes_off()
        self._synth.sounds_off()
        self._synth.generate(int(RINGING * rate))  # what rings on is not heard in the next part
        return out * np.float32(10 ** (part.gain / 20))

    def _until(self, out: NDArray, now: int, place: int) -> int:
        """Sound from sample `now` to `place`."""
        if place > now:
            sound: Any = self._synth.generate(place - now)
            out[now:place] = np.frombuffer(bytes(sound), np.float32).reshape(-1, 2).mean(1)
        return max(now, place)


def _events(part: Part, rate: int) -> list[tuple[int, bool, int, int]]:
    """(sample, whether a key goes down, key, velocity), in order; a key is released before it is struck again."""
    on, off = np.rint(part.start * rate).astype(int), np.rint(part.end * rate).astype(int)
    events = []
    for k in range(len(on)):
        events.append((int(on[k]), True, int(part.pitch[k]), int(part.velocity[k])))
        again = on[(part.pitch == part.pitch[k]) & (on > on[k])]
        events.append((int(min(off[k], again.min(initial=off[k]))), False, int(part.pitch[k]), 0))
    return sorted(events)
