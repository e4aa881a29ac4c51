"""The score model: a piano roll of some bars from genre, mood, tempo and the controls that bind.

A U-Net over pitch and time (piano.py) on the path of a rectified flow (Liu et al. 2023), x_t = (1 - t) x0 + t n; bits
are written as -1 and 1 (analog bits, Chen et al. 2023). It says x0 as a posterior: log-odds of a note, added to what
each entry says for itself (see `Evidence`). A roll is nearly all silence: saying its noise would be most of the work.
Bars and parts that are written already stand in the state without noise, and channels say where (see `Written`).
Classifier-free guidance acts on genre and mood alone, as in Music ControlNet: both passes know the controls. It ends
before the last quarter of the clock: which notes there are is settled by then, and it would exaggerate how loud they
are out of all range, so that a calm take could not be heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.audio.compose.score import Notes
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.score import roll
from domains.audio.score.operations import GUIDANCE
from domains.audio.score.piano import Piano
from shared import checkpoints
from shared.denoiser import Denoiser, x0_head
from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.guidance.window import Window
from shared.noise import PerSample
from shared.process import Process, flow
from shared.run import Guidance, Observer, Own, RunState, Step, Transition
from shared.sample import sample
from shared.samplers.named import named

RECIPE: Final = "audio/score"
WEIGHTS: Final = Path(__file__).parent / "checkpoints" / "score.safetensors"
STEPS_OF_CLIP: Final = 64  # sixteenths: four bars of 4/4
NOISIEST: Final = 0.999
GUIDED: Final = Window(high=math.log(3.0))  # log-SNR of genre's and mood's guidance: until the clock stands at 1/4
TEMPO_MIDDLE, TEMPO_SPAN = 4.7, 0.3  # log of quarter notes a minute: mean and deviation over the genres

ONSETS: Final = 0.02  # share of the entries of a roll that are notes
NOTE, SOFTEST_NOTE = roll.LOUDEST - roll.SILENT, roll.SOFTEST - roll.SILENT  # how far a note is from silence
LOUDNESS: Final = 0.02  # how far the loudness that context tells may be off, a velocity of 3: players, too, vary


@cache
def from_pretrained(path: Path = WEIGHTS) -> nn.Module:
    """The shipped network, loaded once a process; raises UserError when it is not trained yet, absent or damaged."""
    if path == WEIGHTS and not path.is_file():
        folder = "/".join(path.parts[-5:-1])
        raise UserError(
            "the score model has no trained weights yet",
            where="--engine score",
            remedy=f"train it with suite train {RECIPE}, and put score.safetensors and score.json into {folder}",
        )
    return checkpoints.load(path, recipe=RECIPE)[0]


class Evidence(nn.Module):
    """x0 = p A: how likely an entry is a note and how loud it then is, from what it says for itself and all else says.

    An entry of the state u = a b A + t n, a = 1 - t and b = 0 or 1, has by Bayes' rule the log-odds

        l = logit ONSETS + A a (u - A a / 2) / t^2 + said

    of being a note: a base rate, its own evidence, and what the network says from context, which is all it has to
    learn. The network says the loudness m, too, held notes have NOTE; with an error of LOUDNESS the entry moves it to
    A = m + (u / a - m) LOUDNESS^2 / (LOUDNESS^2 + (t / a)^2). Silence is 0 here. Where the roll is written already, x0
    is what is written. The state is told as loud as it says something, its noise at most 1 and falling with
    (1 - t) / t: else what is asked, a few entries of a thousand, drowns in it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.lane = torch.from_numpy(roll.LANE)

    def written(self, cond: Mapping[str, Tensor]) -> Tensor:
        """(B, CHANNELS, T) bool: which entries are written already."""
        return cond["written"][:, self.lane] > 0

    def posterior(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The log-odds of a note and its loudness A, each (B, CHANNELS, T), at x of that shape and time (B,)."""
        t = time.clamp(1e-3, NOISIEST)[:, None, None]
        a = 1 - t
        alone = torch.sigmoid(_odds(x, NOTE, t))
        d = torch.where(self.written(cond), x, NOTE * alone)
        scaled = x / (t.square() + NOTE**2 * ONSETS * a.square()).sqrt() * (a / t).clamp(max=1)
        said, loudness = self.network(torch.cat([d, scaled], dim=1), time, cond)
        from_context = SOFTEST_NOTE + (NOTE - SOFTEST_NOTE) * torch.sigmoid(loudness)
        trust = LOUDNESS**2 / (LOUDNESS**2 + (t / a).square())
        heard = (from_context + (x / a - from_context) * trust).clamp(SOFTEST_NOTE, NOTE)
        amount = torch.where(torch.isfinite(loudness), heard, NOTE)
        return _odds(x, amount.detach(), t) + said, amount

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        odds, amount = self.posterior(x, time, cond)
        return torch.where(self.written(cond), x, torch.sigmoid(odds) * amount)


def _odds(x: Tensor, amount: Tensor | float, t: Tensor) -> Tensor:
    """Log-odds that an entry is a note of that loudness, by itself."""
    mean = amount * (1 - t)
    return math.log(ONSETS / (1 - ONSETS)) + mean * (x - mean / 2) / t.square()


def process() -> Process:
    """Rectified flow."""
    return flow()


def posterior(network: nn.Module) -> Callable[[Tensor, Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]:
    """What the network believes of a state: see `Evidence.posterior`."""
    return Evidence(Piano(network)).posterior


def denoiser(network: nn.Module, *, cond: dict[str, Tensor] | None = None) -> Denoiser:
    """The network as the core sees it, silence at 0 (see `shifted`); its null forgets genre and mood alone."""
    null = None
    if cond is not None:
        null = {
            name: torch.full_like(value, -1) if name in ("genre", "mood") else value for name, value in cond.items()
        }
    return Denoiser(Evidence(Piano(network)), process(), x0_head(), null=null)


def shifted(rolls: Tensor) -> Tensor:
    """Rolls with silence at 0 in place of roll.SILENT."""
    return rolls - roll.SILENT


def route(steps: int, noisiest: float = NOISIEST) -> Grid:
    """Equal steps of the clock from noise, or from a roll that is noised so far, to a score."""
    return own_times(process(), torch.linspace(noisiest, 0, steps + 1, dtype=torch.float64))


def tempo_vector(bpm: float, swing: float) -> tuple[float, float]:
    """What the network is told of the tempo (quarter notes a minute) and of swing (0.5 is straight)."""
    return (float(np.log(bpm)) - TEMPO_MIDDLE) / TEMPO_SPAN, (swing - 0.5) * 10


def key_vector(scale: Collection[int], tonic: int) -> NDArray[np.float32]:
    """What the network is told of a key: its pitch classes (12) and its tonic (12)."""
    out = np.zeros(24, np.float32)
    out[list(scale)] = 1
    out[12 + tonic] = 1
    return out


@dataclass(frozen=True, eq=False)
class Written(Guidance):
    """What is written stays in the state as it is, without noise: known and where (bool), (B, CHANNELS, T).

    The network is trained to read it so; a known region that is noised along (RePaint) would tell it less.
    """

    known: Tensor
    where: Tensor

    voids = frozenset({"reversible"})

    def after(self, x: Tensor, step: Step, tr: Transition | None, own: Own) -> tuple[Tensor, Own]:
        return torch.where(self.where, self.known, x), own


@dataclass(frozen=True, eq=False)
class Ground:
    """What a run does not start from scratch.

    written (B, CHANNELS, sixteenths) a roll, of which what is in `where` (lanes, sixteenths) bool is kept exactly
    silent  (CHANNELS, sixteenths), or that for every row, bool: no note may be there
    start   a roll to stay near to: noised up to `change` of the way, 0 to 1, and taken from there; None: from noise
    """

    written: NDArray | None = None
    where: NDArray | None = None
    silent: NDArray | None = None
    start: NDArray | None = None
    change: float = 1.0

    def grid(self, steps: int) -> Grid:
        """The steps that are left from where the run begins."""
        if self.start is None:
            return route(steps)
        return route(max(2, round(steps * self.change)), NOISIEST * self.change)


def rolls(
    network: nn.Module,
    asked: NDArray,
    *,
    tempo: Sequence[tuple[float, float]],
    genre: Sequence[str | None],
    mood: Sequence[str | None],
    seeds: Sequence[int],
    key: NDArray | None = None,
    steps: int = 20,
    guidance: float = GUIDANCE,
    ground: Ground | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray:
    """One piece a row, as a roll (B, CHANNELS, sixteenths) of real numbers; above 0 is a note.

    asked    (B, CHANNELS of wishes, sixteenths) from `wishes.joined`
    tempo    (quarter notes a minute, swing) a row;  genre, mood   words of controls/tags.py, None for any
    key      (24,) of `key_vector` for all rows, or (B, 24); None for any
    guidance of genre and mood, 1 is plain;  progress   called with (calls done, calls); may raise to cancel
    Raises UserError for rows that do not fit one another.
    """
    rows, ground = len(asked), ground or Ground()
    if not rows == len(tempo) == len(genre) == len(mood) == len(seeds):
        raise UserError(f"{rows} rows of controls, {len(seeds)} seeds", where="score", remedy="give one of each a row")
    if ground.start is not None and ground.change == 0:
        return ground.start.copy()
    cond: dict[str, Any] = {
        "wishes": torch.from_numpy(np.ascontiguousarray(asked, np.float32)),
        "tempo": torch.tensor([tempo_vector(*pair) for pair in tempo]),
        "genre": torch.tensor([-1 if word is None else GENRES.index(word) for word in genre]),
        "mood": torch.tensor([-1 if word is None else MOODS.index(word) for word in mood]),
        "key": torch.full((rows, 24), torch.nan) if key is None else torch.from_numpy(key).expand(rows, 24),
        "written": torch.zeros(rows, len(roll.LANES), asked.shape[-1]),
    }
    shape = (rows, roll.CHANNELS, asked.shape[-1])
    grid, noise = ground.grid(steps), PerSample(tuple(seeds))
    guidances: list[Guidance] = [ClassifierFree(guidance, GUIDED)]
    if ground.silent is not None and ground.silent.any():
        guidances.append(KnownRegion(torch.zeros(1, 1, 1), torch.from_numpy(ground.silent.copy()).expand(shape)))
    if ground.written is not None and ground.where is not None and ground.where.any():
        where = torch.from_numpy(ground.where.copy())
        guidances.append(Written(_tensor(ground.written), where[roll.LANE].expand(rows, -1, -1)))
        cond["written"] = where.expand(rows, -1, -1).float()
    x = None
    if ground.start is not None:
        near = _tensor(ground.start)
        x = process().join(near, noise.draw(0, near, "prior"), grid.points[0])

    def watch(state: RunState, step: Step, tr: Transition | None) -> None:
        if tr is not None and progress is not None:
            progress(step.k, len(grid.route) - 1)

    observers: list[Observer] = [watch]
    run = sample(
        denoiser(network, cond=cond),
        named("dpmpp_2m"),
        grid,
        noise=noise,
        x=x,
        shape=shape,
        cond=cond,
        guidance=guidances,
        observers=observers,
    )
    made: NDArray = run.x.numpy() + roll.SILENT
    return made


def _tensor(values: NDArray) -> Tensor:
    return shifted(torch.from_numpy(np.ascontiguousarray(values, np.float32)))


def generate(network: nn.Module, asked: NDArray, **options: Any) -> list[Notes]:
    """The notes of `rolls`, whose arguments it takes."""
    return [roll.decode(x) for x in rolls(network, asked, **options)]
