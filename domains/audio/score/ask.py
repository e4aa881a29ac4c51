"""From the settings of a run to controls with a beat grid: what the file says, then what was typed, which wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from domains.audio.compose.genres import GENRES_TABLE
from domains.audio.compose.moods import MOODS_TABLE
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi
from domains.audio.controls.notes import Key, Note, Track, skyline
from domains.audio.controls.spans import KINDS, Spans
from domains.audio.controls.tags import Tags
from domains.audio.score import arrange
from domains.audio.score.operations import AUTO, MOST_BARS, GenerateMusic, Playing, not_understood
from shared.errors import UserError
from shared.front.option import EXAMPLE, LARGEST_SEED

PLAIN_TEMPO: Final = 110.0  # felt beats a minute where neither genre nor anybody says one
BARS: Final = 4
TEMPI: Final = (60.0, 190.0)  # felt beats a minute that are laid under music without a grid


@dataclass(frozen=True, eq=False)
class Asked:
    """Controls, with a grid for notes; drum strokes that are asked for; what was decided on the way, in sentences.

    keys   one a take, where nobody asks for one; the controls have the first of them
    """

    controls: Controls
    drums: tuple[Note, ...] = ()
    notes: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()


def seeds(settings: Playing) -> tuple[int, ...]:
    """One a take."""
    return tuple((settings.seed + k) % (LARGEST_SEED + 1) for k in range(settings.takes))


def asked(settings: GenerateMusic) -> Asked:
    """What a run is asked; raises UserError for files and numbers that do not fit one another."""
    return asked_of(settings, *from_file(settings))


def asked_of(settings: GenerateMusic, controls: Controls | None, drums: tuple[Note, ...] = ()) -> Asked:
    """What a run is asked by controls and drum strokes of a file, if any, and by what was typed."""
    notes = not_understood(settings.tags)
    tags = _tags(settings.tags, controls.tags if controls else Tags())
    on_paper = settings.engine == "score"
    if controls is None:
        grid = BeatGrid.steady(settings.bpm or _tempo(tags), "4/4" if settings.metre == AUTO else settings.metre)
        controls = Controls(length=grid.bars_last(settings.bars or BARS), grid=grid)
    elif controls.grid is None and not (on_paper or settings.bars or settings.bpm):
        pass  # a spectrogram needs no bars
    elif controls.grid is None:
        grid = _laid_under(controls, settings)
        controls = replace(controls, grid=grid)
        metre = grid.metres[0]
        notes.append(f"there is no beat grid: {grid.tempos[0].qpm / metre.beat:.4g} BPM in {metre.name} lie under it")
    else:
        if settings.metre != AUTO:
            raise UserError("the controls have a beat grid", where="--metre", remedy="leave --metre out")
        if settings.bpm is not None:
            before = controls.length
            controls = controls.at_tempo(settings.bpm)
            factor = controls.length / before
            drums = tuple(replace(each, start=each.start * factor, end=each.end * factor) for each in drums)
    keys: tuple[Key, ...] = ()
    key = controls.key if settings.key == AUTO else Key.named(settings.key)
    if key is None and controls.melody is None and controls.chords is None and on_paper:
        keys = tuple(arrange.key_for(seed, tags.mood) for seed in seeds(settings))
        key, names = keys[0], ", ".join(each.name for each in keys)
        notes.append(f"no key is asked, drawn {'is' if len(keys) == 1 else 'are'} {names}")
    controls = replace(controls, tags=tags, key=key)
    if settings.loop:
        controls, first, said = _whole_bars(controls, settings.bars)
        drums = tuple(
            replace(each, start=each.start - first, end=each.end - first) for each in drums if each.start >= first
        )
        notes += said
    elif settings.bars is not None:
        end = controls.grid.bars_last(settings.bars) + controls.grid.start  # type: ignore[union-attr]
        controls = resized(controls, end)
    return Asked(controls, tuple(each for each in drums if each.start < controls.length), tuple(notes), keys)


def from_file(settings: GenerateMusic) -> tuple[Controls | None, tuple[Note, ...]]:
    """The controls of the file, those alone that are to bind, and its drum strokes."""
    wanted = settings.only or (*KINDS, "drums")
    drums: tuple[Note, ...] = ()
    if settings.controls is not None:
        controls = _example(settings.controls) or read_controls(settings.controls)
    elif settings.midi is not None:
        controls, tracks = read_midi(settings.midi)
        controls = with_melody(controls, tracks)
        drums = tuple(note for track in tracks if track.drums for note in track.notes)
    else:
        return None, ()
    grid = controls.grid
    controls = replace(controls.only(*(kind for kind in KINDS if kind in wanted)), grid=grid)
    return controls, drums if "drums" in wanted else ()


def _example(path: str) -> Controls | None:
    """The built-in controls that `example:NAME` names; None for a path."""
    return EXAMPLES[path.removeprefix(EXAMPLE)]() if path.startswith(EXAMPLE) else None


def with_melody(controls: Controls, tracks: Sequence[Track]) -> Controls:
    """The controls with the track that is called melody, where they ask for none themselves."""
    tune = next((track for track in tracks if track.name == "melody"), None)
    if controls.melody is not None or tune is None:
        return controls
    line = (replace(note, end=min(note.end, controls.length)) for note in tune.notes if note.start < controls.length)
    return replace(controls, melody=skyline(line))


def _tags(text: str, said: Tags) -> Tags:
    typed, _ = Tags.read(text)
    return Tags(typed.genre or said.genre, typed.mood or said.mood)


def _tempo(tags: Tags) -> float:
    """Felt beats a minute of genre and mood."""
    if tags.genre is None:
        return PLAIN_TEMPO
    low, high = GENRES_TABLE[tags.genre].tempo
    return float(round(low + (high - low) * (MOODS_TABLE[tags.mood].pace if tags.mood else 0.5)))


def _laid_under(controls: Controls, settings: GenerateMusic) -> BeatGrid:
    """The grid for controls without one: the tempo that was typed, or of all that give whole bars the one whose
    sixteenths are nearest to the notes; between equals the one nearest to the genre's."""
    metre = "4/4" if settings.metre == AUTO else settings.metre
    if settings.bpm is not None:
        return BeatGrid.steady(settings.bpm, metre)
    beats = {"4/4": 4, "3/4": 3, "6/8": 2}[metre]
    tempi = [60 * beats * n / controls.length for n in range(1, MOST_BARS + 1)]
    tempi = [bpm for bpm in tempi if TEMPI[0] <= bpm <= TEMPI[1]] or [_tempo(controls.tags)]
    onsets = np.array([note.start for note in controls.melody or ()])

    def cost(bpm: float) -> float:
        place = onsets * bpm / 60 * (6 if metre == "6/8" else 4)
        off = float(np.abs(place - np.rint(place)).mean()) if len(onsets) else 0.0
        return off + 0.02 * abs(float(np.log2(bpm / _tempo(controls.tags))))

    return BeatGrid.steady(min(tempi, key=cost), metre)


def resized(controls: Controls, length: float) -> Controls:
    """The controls of a clip of another length: cut, or gone on with nothing asked for beyond the old end."""
    if length <= controls.length + 1e-9:
        return controls.crop(0.0, length)
    spans: Mapping[str, object] = {
        kind: controls.bound(kind) if controls.given(kind) and kind != "rhythm" else controls.spans.of(kind)
        for kind in KINDS
    }
    return replace(controls, length=length, spans=Spans(**spans))  # type: ignore[arg-type]


def _whole_bars(controls: Controls, bars: int | None) -> tuple[Controls, float, list[str]]:
    """A loop begins on a downbeat, so many seconds later than the clip, and lasts whole bars."""
    grid, notes = controls.grid, list[str]()
    assert grid is not None
    first = float(grid.downbeats(controls.length)[0]) if len(grid.downbeats(controls.length)) else 0.0
    if first > 1e-6:
        controls = controls.crop(first, controls.length)
        notes.append(f"the loop begins on the first downbeat, {first:.3g} s later")
        grid = controls.grid
        assert grid is not None
    lines = [grid.bars_last(n) for n in range(1, MOST_BARS + 2)]
    count = bars or 1 + int(np.abs(np.array(lines[:MOST_BARS]) - controls.length).argmin())
    if bars is None and abs(lines[count - 1] - controls.length) > 1e-3:
        notes.append(f"a loop has whole bars: {count} of them instead of {controls.length:.3f} s")
    return resized(controls, lines[count - 1]), first, notes
