"""`suite audio compose`: MIDI, mix, stems, score and the controls that are exactly true of them.

Recordings are 32-bit float, so that the stems add up to the mix on disk as they do in memory.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.composer import compose
from domains.audio.compose.operations import ANY, ComposeMusic
from domains.audio.compose.performance import render
from domains.audio.compose.truth import controls_of, tracks_of
from domains.audio.controls.json_form import to_json
from domains.audio.controls.midi import to_midi
from domains.audio.synth.soundfont import SoundFont
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.progress import counted
from shared.front.provenance import provenance


def compose_music(settings: ComposeMusic, progress: Report, operation: Operation) -> Outcome:
    """Compose, play and write; see `ComposeMusic`."""
    progress(0, 3, "composing")
    score = compose(
        settings.seed,
        0,
        settings.split,  # type: ignore[arg-type]
        genre=None if settings.genre == ANY else settings.genre,
        mood=None if settings.mood == ANY else settings.mood,
        bars=settings.bars,
    )
    progress(1, 3, "playing")
    rate = int(settings.rate)
    played = render(score, rate, player=SoundFont(settings.soundfont, rate) if settings.soundfont else None)
    progress(2, 3, "writing")
    sources = [Path(settings.soundfont)] if settings.soundfont else []
    record = provenance(operation, settings, threads=1, sources=sources, packages=("mido", "soundfile"))
    controls = controls_of(score, played)
    facts: dict[str, Any] = {
        "genre": score.genre,
        "mood": score.mood,
        "key": score.key,
        "metre": score.metre,
        "beats_a_minute": round(float(score.tempo.bpm[0] / score.beat), 3),
        "bars": score.bars,
        "form": score.form,
        "seconds": round(score.seconds_in_all, 6),
        "seconds_of_the_mix": round(played.mix.shape[1] / played.rate, 6),  # the last notes ring on
        "samples_of_the_bars": played.body,
        "lowered_db": round(played.lowered, 3),
        "peak": round(float(np.abs(played.mix).max()), 4),
    }
    words = f"{score.genre} {score.mood} in {score.key}, {score.metre}, seed {settings.seed}"
    with staged_folder(settings.out) as folder:
        write_atomic(folder / "music.mid", to_midi(replace(controls, melody=None), tracks_of(score)))
        _wav(folder / "mix.wav", played.mix, played.rate, words)
        stems = {} if played.stems is None else dict(zip((t.role for t in score.tracks), played.stems, strict=True))
        stems = {role: stem for role, stem in stems.items() if stem.any()}
        for role, stem in stems.items():
            _wav(folder / f"stem_{role}.wav", stem, played.rate, f"{role} of {words}")
        for name, body in (
            ("controls.json", {"controls": to_json(controls)}),
            ("score.json", {"score": score.to_json(), "report": facts}),
        ):
            write_atomic(folder / name, json.dumps({**record, **body}, indent=1, allow_nan=False))
    names = ("mix.wav", "music.mid", *(f"stem_{role}.wav" for role in stems), "controls.json", "score.json")
    sentence = (
        f"{counted(score.bars, 'bar')} of {score.mood} {score.genre} in {score.key}, {score.seconds_in_all:.1f} s"
    )
    sentence += f" ({facts['seconds_of_the_mix']:.1f} s with what rings on)"
    return Outcome(sentence, tuple(Path(settings.out) / name for name in names), facts, {"score": score})


def _wav(path: Path, sound: NDArray, rate: int, words: str) -> None:
    """Stereo, float32, with a comment that says what it is."""
    import soundfile

    def write(temporary: Path) -> None:
        with soundfile.SoundFile(temporary, "w", rate, sound.shape[0], "FLOAT", format="WAV") as file:
            file.comment = f"SYNTHETIC: {words}"
            file.write(np.ascontiguousarray(sound.T))

    write_atomic(path, write)
