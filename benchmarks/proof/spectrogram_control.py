"""How far the spectrogram engine follows controls: the protocol of Music ControlNet (Wu et al. 2023) at our size.

    extracted   composed clips of 5.94 s that no recipe has heard; what is asked is true of them, all of it at once
    created     twenty melodies, twenty-four curves, twenty rhythms (domains/audio/controls/created.py), one at a time
    in part     the same created controls in a random 1.0 to 4.5 s, inside which they are scored

Rows of a table:

    chance        controlled takes against what another clip asked
    uncontrolled  the same seeds with genre and mood alone
    controlled    the model with its controls, as in the paper (--no-strict)
    level held    the same with every frame moved to the level that is asked (--strict, the default; level.py)
    ceiling       what is asked, through levels and back to sound: the clip itself; the melody played alone; a composed
                  piece moved to the curve; the strokes on the asked grid
    control share (controlled - uncontrolled) / (ceiling - uncontrolled)

All is what the extractors hear in the sound. Micro is the mean of r over takes, macro one r over all their frames. That
a part stays free is told by how far takes of two seeds lie apart there, dB from bin to bin, beside takes that were
asked nothing. Intervals: bootstrap over clips. Writes docs/measured/spectrogram_control.json.

    python benchmarks/proof/spectrogram_control.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.proof.score_created import TAGS as PAIRS
from benchmarks.proof.score_created import chosen, exactly, items
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP, RATE, count, frame_times
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import Tags
from domains.audio.evaluate import ClipScores, Heard, bootstrap, chance, listen, metric, score
from domains.audio.score import arrange
from domains.audio.score.perform import perform
from domains.audio.score.plan import plan
from domains.audio.spectrogram.generate import Decoder, Take, generate, usual_decoder
from domains.audio.spectrogram.level import heard_levels
from domains.audio.spectrogram.measure import questions
from domains.audio.spectrogram.mel import mel_levels
from domains.audio.spectrogram.model import CONTROL_WEIGHTS, FRAMES, WEIGHTS, Spectrograms
from shared.errors import UserError
from shared.measured import MEASURED, record

SHOWN: Final = {
    "melody": "melody: frames with the asked class",
    "dynamics_micro": "dynamics: micro r",
    "dynamics_macro": "dynamics: macro r",
    "level_error": "dynamics: squared level error, dB²",
    "beat": "beats: F1 within 70 ms",
    "downbeat": "downbeats: F1 within 70 ms",
    "in_key": "key: share of frames in it",
}
OWN: Final = {
    "melody": ("melody",),
    "dynamics": ("dynamics_micro", "dynamics_macro", "level_error"),
    "rhythm": ("beat", "downbeat"),
}
BATCH: Final = 8  # clips generated at once
Rows = dict[str, list[ClipScores]]


class Studio:
    """A model and all that is heard of it: takes for controls, and their scores."""

    def __init__(self, model: Spectrograms, decoder: Decoder, say: Callable[[str], None]) -> None:
        self.model, self.decoder, self.say = model, decoder, say
        self.calls = 0

    def takes(self, wishes: Sequence[Controls], first: int = 0, level_shift: float = 0.0) -> list[Take]:
        """A take for every wish, with seeds first, first + 1, ...; those of one length share a batch."""
        found: dict[int, Take] = {}
        for length in {one.samples(RATE) for one in wishes}:
            same = [n for n, one in enumerate(wishes) if one.samples(RATE) == length]
            for some in (same[start : start + BATCH] for start in range(0, len(same), BATCH)):
                part, seeds = [wishes[n] for n in some], [first + n for n in some]
                made = generate(self.model, part, seeds=seeds, level_shift=level_shift, decoder=self.decoder)
                found |= dict(zip(some, made, strict=True))
                self.calls = made[-1].calls
        return [found[n] for n in range(len(wishes))]

    def back(self, levels: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
        """A wave from levels (160, T) that nobody generated."""
        return self.decoder(torch.from_numpy(levels)[None], samples)[0].numpy()

    def answers(self, asks: Sequence[Controls], tops: Sequence[NDArray[np.float32]], what: str) -> Rows:
        """The scores of every arm; `tops` are the waves of the ceiling."""
        nothing = self.takes([one.only() for one in asks])
        self.say(f"{what}: uncontrolled")
        asked = self.takes(asks)
        self.say(f"{what}: controlled")
        arms = {"uncontrolled": [take.wave for take in nothing], "controlled": [take.wave for take in asked]}
        if any(one.given("dynamics") for one in asks):
            arms["level held"] = [take.wave for take in self.takes(asks, level_shift=1.0)]
            self.say(f"{what}: level held")
        arms["ceiling"] = list(tops)
        heard = {arm: [audible(wave) for wave in waves] for arm, waves in arms.items()}
        self.say(f"{what}: listened")
        rows = {arm: [score(ask, each) for ask, each in zip(asks, clips, strict=True)] for arm, clips in heard.items()}
        return {"chance": chance(asks, heard["controlled"]), **rows}


def audible(wave: NDArray[np.float32]) -> Heard:
    """What the extractors hear; no beats in silence."""
    if wave.any():
        return listen(wave)
    nothing = np.zeros(0)
    return replace(listen(wave, beats=False), beats=nothing, downbeats=nothing)


# ---------------------------------------------------------------------------------------------------------------- asked


def extracted(studio: Studio, clips: int) -> tuple[list[Controls], list[NDArray[np.float32]]]:
    """Held-out clips: what is true of them, and the clips through levels and back."""
    asking = questions(clips, FRAMES, seed=4000)
    return [one for one, _ in asking], [studio.back(levels, HOP * levels.shape[1]) for _, levels in asking]


def created(
    studio: Studio, kind: str, middle: float, most: int | None, *, part: bool
) -> tuple[list[Controls], list[NDArray[np.float32]]]:
    """Created controls with tags, and what they ask for, through levels and back."""
    asks, tops = [], []
    for number, one in enumerate(chosen(items(kind, middle, part=part), most)):
        genre, mood = PAIRS[number % len(PAIRS)]
        asks.append(replace(one.asked if kind == "rhythm" else one.asked.only(kind), tags=Tags(genre, mood)))
        law = plan(one.asked, drums=one.drums, strict=True)
        band = arrange.band_of(*PAIRS[0], number)
        wave = perform(arrange.tracks_of(exactly(law, kind, number), law, band), band, law.controls, RATE).heard
        wave = np.pad(wave, (0, one.asked.samples(RATE) - len(wave)))
        levels = mel_levels(torch.from_numpy(wave)[None])[0]
        if kind == "dynamics":
            levels = moved(levels, one.asked)
        tops.append(studio.back(levels.numpy(), len(wave)))
    return asks, tops


def moved(levels: torch.Tensor, asked: Controls) -> torch.Tensor:
    """Levels (160, T) whose frames are as loud as the curve asks for."""
    assert asked.dynamics is not None
    wanted = torch.from_numpy(asked.dynamics.at(frame_times(levels.shape[1]))).float()
    for _ in range(3):  # what is smoothed answers a little later than it is moved
        levels = levels + (wanted - heard_levels(levels))[None]
    return levels


def halved(one: Controls) -> Controls:
    """The same, asked in the first half alone."""
    first = (Span(0.0, one.length / 2),)
    return replace(one, spans=Spans(**{kind: first for kind in KINDS if one.given(kind)}))


# --------------------------------------------------------------------------------------------------------------- tables


def share(rows: Rows, name: str, arm: str = "controlled") -> float | None:
    """(arm - uncontrolled) / (ceiling - uncontrolled); None where the ceiling is not the better one."""
    own, free, top = (metric(name, rows[each]) for each in (arm, "uncontrolled", "ceiling"))
    if own is None or free is None or top is None or not better(name, top, free):
        return None
    return (own - free) / (top - free)


def better(name: str, one: float, other: float) -> bool:
    """Whether a value is better than another; of errors the smaller one."""
    return one < other if name == "level_error" else one > other


def table(rows: Rows, names: Sequence[str]) -> dict[str, Any]:
    """One row an arm, and two for the share of control; a column a metric."""
    lines: list[list[Any]] = []
    clips = list(range(len(rows["controlled"])))

    def between(statistic: Callable[[Rows], float | None]) -> str | None:
        if statistic(rows) is None:
            return None
        low, high = bootstrap(
            clips, lambda drawn: statistic({arm: [found[n] for n in drawn] for arm, found in rows.items()})
        )
        return f"{low:.2f} to {high:.2f}"

    for arm, found in rows.items():
        lines.append([arm, *(metric(name, found) for name in names)])
        if arm in ("uncontrolled", "controlled", "level held"):
            lines.append(["95 %", *(between(lambda r, n=name, a=arm: metric(n, r[a])) for name in names)])  # type: ignore[misc]
    lines.append(["control share", *(share(rows, name) for name in names)])
    lines.append(["95 %", *(between(lambda r, n=name: share(r, n)) for name in names)])  # type: ignore[misc]
    return {"columns": ["", *(SHOWN[name] for name in names)], "rows": lines, "digits": 2}


def apart(studio: Studio, asks: Sequence[Controls]) -> dict[str, Any]:
    """How far takes of two seeds lie apart in either half, asked nothing and asked in the first half alone."""
    rows: list[list[Any]] = []
    middle = count(asks[0].samples(RATE)) // 2
    for words, wishes in (
        ("nothing asked", [one.only() for one in asks]),
        ("asked in the first half", [halved(one) for one in asks]),
    ):
        one, two = (studio.takes(wishes, first) for first in (0, 5000))
        off = [np.clip(a.levels, -80, 0) - np.clip(b.levels, -80, 0) for a, b in zip(one, two, strict=True)]
        halves = [float(np.mean([np.sqrt((d[:, part] ** 2).mean()) for d in off])) for part in _parts(middle)]
        rows.append([words, *halves])
    free = rows[1][2] / rows[0][2]
    rows.append(["asked as a share of nothing asked", rows[1][1] / rows[0][1], free])
    studio.say(f"freedom of what is not asked: {free:.2f}")
    columns = ["distance of two takes, dB from bin to bin", "first half", "second half"]
    return {"columns": columns, "rows": rows, "digits": 2}


def _parts(middle: int) -> tuple[slice, slice]:
    return slice(0, middle), slice(middle, None)


def headlines(rows: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """What the level costs and gains, as numbers for the text."""
    both = rows["extracted"]
    before, after = (metric("level_error", both[arm]) or 0.0 for arm in ("controlled", "level held"))
    found = {"level_before": before, "level_after": after, "level_gain": before / max(after, 1e-9)}
    entries: dict[str, dict[str, Any]] = {name: {"value": value, "digits": 3} for name, value in found.items()}
    for name in ("melody", "beat"):
        own, other = (metric(name, both[arm]) or 0.0 for arm in ("controlled", "level held"))
        entries[f"{name}_lost"] = {"value": 100 * (own - other), "unit": "points", "digits": 2}
    return entries


@click.command()
@click.option("--clips", type=click.IntRange(min=2), default=24, show_default=True, help="Held-out clips.")
@click.option("--most", type=click.IntRange(min=2), default=None, help="Created controls of a kind; none: all.")
@click.option("--base", type=click.Path(path_type=Path), default=WEIGHTS, help="Checkpoint of the base.")
@click.option("--control", type=click.Path(path_type=Path), default=CONTROL_WEIGHTS, help="Checkpoint of the control.")
@click.option("--out", type=click.Path(path_type=Path), default=MEASURED, help="Folder of the tables.")
def main(clips: int, most: int | None, base: Path, control: Path, out: Path) -> None:
    """Measure and write the tables."""
    torch.set_num_threads(1)
    if base == WEIGHTS and not base.is_file():
        click.echo("the spectrogram model has no trained weights yet: there is nothing to measure, no table is written")
        return
    if (base, control) != (WEIGHTS, CONTROL_WEIGHTS) and out == MEASURED:
        raise UserError("docs/measured is about the shipped weights", where="--base", remedy="give --out a folder")
    began = time.perf_counter()

    def say(note: str) -> None:
        click.echo(f"{time.perf_counter() - began:5.0f} s  {note}")

    model = Spectrograms.from_pretrained(base, control)
    studio = Studio(model, usual_decoder(), say)
    asks, tops = extracted(studio, clips)
    rows = {"extracted": studio.answers(asks, tops, "extracted")}
    entries: dict[str, dict[str, Any]] = {
        "clips": {"value": clips},
        "calls": {"value": studio.calls},
        "extracted": table(rows["extracted"], list(SHOWN)),
        "apart": apart(studio, asks),
    }
    middle = model.format.level[0]
    for kind, names in OWN.items():
        for part in (False, True):
            name = f"{kind}_part" if part else kind
            rows[name] = studio.answers(*created(studio, kind, middle, most, part=part), name)
            entries[name] = table(rows[name], names)
    entries |= headlines(rows)
    record("spectrogram_control", entries, command="python benchmarks/proof/spectrogram_control.py", folder=out)
    for name, entry in entries.items():
        click.echo(name if "rows" in entry else f"{name}: {entry['value']}")
        for line in (entry["columns"], *entry["rows"]) if "rows" in entry else ():
            click.echo("  ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in line))
    say("done")


if __name__ == "__main__":
    main()
