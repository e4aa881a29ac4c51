"""What a spectrogram model's card states: the paper's metrics on held-out music, beside what they can be at all.

controlled, uncontrolled   the same seeds with and without the controls;   chance   against what another clip asked
ceiling                    the real clips through levels and back: what the codec costs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from domains.audio.compose.composer import Split
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP
from domains.audio.evaluate import chance, listen, metric, score, table
from domains.audio.spectrogram.clips import asked, piece, start
from domains.audio.spectrogram.generate import Decoder, generate, usual_decoder
from domains.audio.spectrogram.model import Spectrograms, denoiser
from shared.denoiser import Query
from shared.noise import stream
from shared.training.loop import Batch

SHOWN: Final = ("melody", "dynamics_micro", "dynamics_macro", "level_error", "beat", "downbeat", "in_key")
CLOCK: Final = (0.2, 0.5, 0.8)  # of the way to noise, at which the network is asked
BATCH: Final = 8


def questions(count: int, frames: int, split: Split = "test", seed: int = 101) -> list[tuple[Controls, NDArray]]:
    """What is asked, and the levels (160, T) of the clips of which it is true."""
    rng, found = np.random.default_rng((seed, 11)), []
    for index in range(count):
        whole = piece(seed, index, split)
        first = start(rng, whole, frames)
        levels = whole.levels[:, first : first + frames].astype(np.float32)
        found.append((asked(whole, first, levels.shape[1]), levels))
    return found


def measured(
    model: Spectrograms, count: int, frames: int, *, split: Split = "test", decoder: Decoder | None = None
) -> dict[str, Any]:
    """The metrics of evaluate.py, name -> value, interval, uncontrolled, chance and ceiling; count 0: none."""
    if not count:
        return {}
    decoder = decoder or usual_decoder()
    asking = questions(count, frames, split)
    wishes = [one for one, _ in asking]
    free = [one.only() for one in wishes]
    levels = [torch.from_numpy(each) for _, each in asking]
    real = [decoder(each[None], HOP * each.shape[-1])[0].numpy() for each in levels]
    heard = {
        "ceiling": [listen(wave) for wave in real],
        "uncontrolled": [listen(w) for w in _made(model, free, decoder)],
    }
    if model.control is not None:
        heard["controlled"] = [listen(wave) for wave in _made(model, wishes, decoder)]
    rows = {
        name: [score(wish, each) for wish, each in zip(wishes, clips, strict=True)] for name, clips in heard.items()
    }
    best = rows.get("controlled", rows["uncontrolled"])
    said = table(best)
    others = {name: rows[name] for name in ("uncontrolled", "ceiling")}
    if count > 1:
        others["chance"] = chance(wishes, heard.get("controlled", heard["uncontrolled"]))
    out: dict[str, Any] = {}
    for name in SHOWN:
        if said[name] is not None:
            beside = {other: metric(name, clips) for other, clips in others.items()}
            out[name] = {key: _short(value) for key, value in (said[name] | beside).items()}
    return out


def validation(model: Spectrograms, batches: Callable[[int], Batch], count: int = 2) -> dict[str, Any]:
    """Mean squared error of x0 at some places of the clock, in units of the codec: what networks compare by."""
    form, out = model.format, {}
    asking = denoiser(model.network, form)
    with torch.no_grad():
        for place in CLOCK:
            at, errors = form.process.at(place * form.process.ends[1]), []
            for step in range(count):
                batch = batches(step)
                x0 = batch["x0"]
                noise = torch.randn(x0.shape, generator=stream(0, step, "validation"))
                cond = {name: value for name, value in batch.items() if name != "x0"}
                said = asking.predict(form.process.join(x0, noise, at), at, {"main": Query(cond)})["main"].x0
                errors.append(float((said - x0).square().mean()))
            out[f"error of x0 at {place:g} of the noise"] = {"value": _short(float(np.mean(errors)))}
    return out


def _made(model: Spectrograms, wishes: Sequence[Controls], decoder: Decoder) -> list[NDArray[np.float32]]:
    """Waves, one a wish, with seeds 0, 1, ..."""
    waves: list[NDArray[np.float32]] = []
    for first in range(0, len(wishes), BATCH):
        part = wishes[first : first + BATCH]
        for take in generate(model, part, seeds=range(first, first + len(part)), decoder=decoder):
            waves.append(take.wave)
    return waves


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
