"""From score to sound: who plays what and when, and the recording of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from domains.audio.compose.score import Score
from domains.audio.synth.render import Part, Player, Render, play

SENDS: Final = {"melody": 1.0, "chords": 1.0, "bass": 0.15, "drums": 0.5}  # share of the room


def parts_of(score: Score) -> tuple[Part, ...]:
    """One part a track, times in seconds with swing and tempo."""
    notes, parts = score.notes, []
    for number, track in enumerate(score.tracks):
        own = notes.take(notes.track == number)
        parts.append(
            Part(
                start=score.seconds(own.onset),
                end=np.maximum(score.seconds(own.end), score.seconds(own.onset) + 1e-3),
                pitch=own.pitch,
                velocity=own.velocity,
                program=track.program,
                drums=track.drums,
                pan=track.pan,
                gain=track.gain,
                send=SENDS[track.role],
            )
        )
    return tuple(parts)


def render(score: Score, rate: int = 44_100, *, stems: bool = True, player: Player | None = None) -> Render:
    """The recording of a score in the room of its style; see `synth.render.play`."""
    return play(parts_of(score), score.seconds_in_all, rate, room=score.room, stems=stems, player=player)
