"""The piano roll loses nothing, wishes say what is true of the score, and the recipe trains and resumes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from domains.audio.compose.composer import compose
from domains.audio.compose.score import STEP, Notes
from domains.audio.score import model, roll, train, wishes
from domains.audio.score.model import STEPS_OF_CLIP, generate, rolls
from domains.audio.score.piano import NETWORK
from domains.audio.synth.drums import KIT
from shared.checkpoints import LARGEST
from shared.errors import UserError
from shared.training.loop import TrainSettings, fit

TINY = replace(NETWORK, channels=(8, 8, 8))


def table(notes: Notes) -> list[tuple]:
    """Notes as sorted tuples."""
    return sorted(zip(*(value.tolist() for value in vars(notes).values()), strict=True))


# ------------------------------------------------------------------------------------------------------------ the roll


def test_notes_on_the_grid_come_back_from_the_roll_to_the_last_velocity() -> None:
    for k in range(12):
        score = compose(21, k, bars=4)
        kept = roll.on_grid(score.notes)
        again = roll.decode(roll.encode(score.notes, 0, round(score.length / STEP)))
        assert table(again) == table(kept), (score.genre, score.mood)
        assert table(roll.on_grid(kept)) == table(kept)


def test_a_roll_comes_back_from_its_notes_to_the_bit() -> None:
    for k in range(12):
        score = compose(22, k)
        x = roll.encode(score.notes, 16, STEPS_OF_CLIP)
        assert x.shape == (roll.CHANNELS, STEPS_OF_CLIP)
        assert np.array_equal(roll.encode(roll.decode(x), 0, STEPS_OF_CLIP), x)


def test_a_repeated_note_is_two_notes_and_a_held_one_is_one() -> None:
    rows = [(0.0, 0.5, 60, 90, 0), (0.5, 0.5, 60, 70, 0), (0.0, 1.0, 40, 100, 2), (0.25, 0.25, 38, 127, 3)]
    again = roll.decode(roll.encode(Notes.of(rows), 0, 8))
    assert table(again) == sorted(rows)


def test_what_a_lane_cannot_hold_is_moved_by_octaves_and_the_later_note_ends_the_earlier() -> None:
    kept = roll.on_grid(Notes.of([(0, 2, 110, 80, 0), (1, 1, 98, 60, 0), (0, 1, 20, 80, 2), (0, 1, 127, 80, 3)]))
    assert table(kept) == [
        (0.0, 0.25, max(KIT), 80, 3),
        (0.0, 1.0, 32, 80, 2),
        (0.0, 1.0, 86, 80, 0),
        (1.0, 1.0, 86, 60, 0),
    ]


def test_a_roll_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="has shape"):
        roll.decode(np.zeros((3, 8)))
    with pytest.raises(UserError, match="0 sixteenths"):
        roll.encode(compose(0, bars=2).notes, 0, 0)


# ---------------------------------------------------------------------------------------------------------- the wishes


def test_wishes_are_what_the_roll_holds() -> None:
    score = compose(23, 4, genre="pop", mood="happy")
    asked, x = wishes.wishes(score, 16, STEPS_OF_CLIP), roll.encode(score.notes, 16, STEPS_OF_CLIP)
    melody = roll.LANES[0].pitches
    for step, row in zip(*np.nonzero(x[: len(melody)].T > 0), strict=True):
        assert asked["melody"][melody[row] % 12, step] == 1 and asked["melody"][:, step].sum() == 1
    drums = x[-roll.LANES[3].channels :]
    for group in range(3):
        keys = [k for k, key in enumerate(roll.LANES[3].pitches) if wishes.DRUMS.get(key) == group]
        assert np.array_equal(asked["drums"][group] > 0, (drums[keys] > 0).any(0))
    assert asked["chords"][:12].sum(0).tolist() == asked["chords"][12:].sum(0).tolist() == [1] * STEPS_OF_CLIP
    assert np.flatnonzero(asked["beats"][1]).tolist() == [0, 16, 32, 48]
    assert asked["dynamics"][0] * wishes.SPAN + wishes.MIDDLE == pytest.approx(score.level((16 + np.arange(64)) / 4))


def test_outside_its_span_a_control_has_no_influence_on_the_condition() -> None:
    a, b = (wishes.wishes(compose(23, k, genre="pop"), 0, 64) for k in (1, 2))
    bound = np.ones((4, 64), np.float32)
    bound[:, 10:40] = 0
    mixed = {kind: np.where((np.arange(64) >= 10) & (np.arange(64) < 40), b[kind], a[kind]) for kind in a}
    assert np.array_equal(wishes.joined({**mixed, "beats": a["beats"]}, bound), wishes.joined(a, bound))
    assert not np.array_equal(wishes.joined(a, bound), wishes.joined(b, bound))


def test_masks_drop_everything_and_nothing_more_often_than_chance_and_clear_spans() -> None:
    rng = np.random.default_rng(0)
    drawn = [wishes.draw_bound(rng, 64) for _ in range(2000)]
    full = np.array([[row.all() for row in bound] for bound in drawn])
    none = np.mean([not bound.any() for bound in drawn])
    partial = np.mean([((bound.sum(1) > 0) & (bound.sum(1) < 64)).any() for bound in drawn])
    assert 0.2 < none < 0.3 and full.all(1).mean() > 0.1 and 0.25 < partial < 0.5
    gaps = [np.count_nonzero(np.diff(np.pad(1 - row, 1))) for bound in drawn for row in bound if row.any()]
    assert max(gaps) == 2  # one span a control


# ----------------------------------------------------------------------------------------------------------- the model


def test_a_batch_is_a_function_of_its_step() -> None:
    batches = train.ScoreBatches(8)
    first, again, other = batches(3), batches(3), batches(4)
    for name, value in first.items():
        assert torch.equal(value.nan_to_num(-9), again[name].nan_to_num(-9)), name
    assert first["x0"].shape == (8, roll.CHANNELS, 64) and not torch.equal(first["x0"], other["x0"])
    assert first["wishes"].shape == (8, wishes.CHANNELS, 64) and torch.isfinite(first["wishes"]).all()


def test_the_network_of_the_recipe_fits_into_a_checkpoint() -> None:
    """Found out after the training, it would cost the training."""
    with torch.device("meta"):
        weights = sum(value.numel() for value in train.new_network().state_dict().values())
    assert 2 * weights < 0.98 * LARGEST, "float16, and a header"


class Context(nn.Module):
    """A network that says the same log-odds and loudness of every entry, whatever it sees."""

    def __init__(self, said: Tensor, loudness: Tensor) -> None:
        super().__init__()
        self.said, self.loudness = said, loudness

    def forward(self, x: Tensor, time: Tensor, cond: Any) -> tuple[Tensor, Tensor]:
        return self.said.expand(len(x), -1, -1), self.loudness.expand(len(x), -1, -1)


def nothing_written(steps: int) -> dict[str, Tensor]:
    return {"written": torch.zeros(1, len(roll.LANES), steps)}


def test_what_context_says_and_what_an_entry_says_for_itself_make_the_posterior_by_bayes_rule() -> None:
    """Against the ratio of the two densities, for a held entry (of NOTE) and onsets whose loudness is known."""
    t, prior = 0.4, 0.3
    base = math.log(model.ONSETS / (1 - model.ONSETS))
    said = torch.full((1, 1, 1), math.log(prior / (1 - prior)) - base)
    loudness = torch.full((1, roll.CHANNELS, 1), 50.0)  # sigmoid 1: as loud as can be, like what is held
    loudness[:, 0] = torch.nan
    x = torch.linspace(-2, 3, 51).expand(1, roll.CHANNELS, 51)
    beliefs = model.Evidence(Context(said, loudness))
    odds, amount = beliefs.posterior(x, torch.tensor([t]), nothing_written(51))
    assert (amount[0, 0] == model.NOTE).all() and (amount <= model.NOTE).all()
    law = torch.distributions.Normal
    note = law((1 - t) * amount, t).log_prob(x).exp() * prior
    silence = law(torch.zeros(()), t).log_prob(x).exp() * (1 - prior)
    assert torch.sigmoid(odds).numpy() == pytest.approx((note / (note + silence)).numpy(), rel=1e-4)


def test_the_loudness_of_a_note_is_read_from_the_state_as_its_noise_goes() -> None:
    said, loudness = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)  # context: half way between softest and loudest
    beliefs = model.Evidence(Context(said, loudness))
    middle = (model.NOTE + model.SOFTEST_NOTE) / 2

    def amount(t: float) -> float:
        x = torch.full((1, roll.CHANNELS, 1), (1 - t) * 1.9)
        return float(beliefs.posterior(x, torch.tensor([t]), nothing_written(1))[1][0, 0, 0])

    assert amount(0.9) == pytest.approx(middle, abs=1e-2) and amount(1e-3) == pytest.approx(1.9, abs=2e-3)
    assert amount(0.9) < amount(0.05) < amount(0.01) < 1.9


def test_a_part_that_is_written_stays_and_the_others_are_free() -> None:
    network = train.new_network(TINY).eval()
    score = compose(23, 4, genre="pop", mood="happy")
    asked = wishes.joined(wishes.wishes(score, 0, 64), np.zeros((4, 64), np.float32))
    written, where = roll.encode(score.notes, 0, 64), np.zeros((len(roll.LANES), 64), bool)
    where[0] = True  # the melody, all along
    where[2, :32] = True  # the bass, in the first half
    made = rolls(
        network,
        asked[None],
        tempo=[(100.0, 0.5)],
        genre=["pop"],
        mood=["happy"],
        seeds=[1],
        steps=3,
        ground=model.Ground(written[None], where),
    )[0]
    kept = where[roll.LANE]
    assert np.allclose(made[kept], written[kept], atol=1e-6) and not np.allclose(made[~kept], written[~kept])


def test_batches_hold_clips_that_are_free_and_clips_of_which_bars_or_parts_are_written() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([train.draw_written(rng) for _ in range(400)])
    assert (drawn.min((1, 2)) == 0).all(), "something is left to write"
    whole_parts = (drawn.min(2) == 1).any(1)
    holes = ~whole_parts & (drawn.max((1, 2)) == 1)
    assert 0.15 < whole_parts.mean() < 0.35 and 0.15 < holes.mean() < 0.4 and (drawn.max((1, 2)) == 0).mean() > 0.3


def test_twenty_steps_lower_the_loss(tmp_path: Path) -> None:
    settings = TrainSettings(steps=20, lr=2e-3, warmup=2, ema=0.9)
    losses: list[float] = []
    fit(
        train.new_network(TINY),
        train.score_loss,
        train.ScoreBatches(4),
        settings=settings,
        out=tmp_path,
        observers=[lambda report: losses.append(report.loss)],
    )
    assert len(losses) == 20 and np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])


def spread(network: torch.nn.Module) -> torch.nn.Module:
    """Weights away from their zeros, so that everything acts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network


def test_a_run_is_the_same_for_the_same_seed_and_follows_tags_and_controls() -> None:
    network = spread(train.new_network(TINY)).eval()
    score = compose(24, 0, genre="rock")
    asked = wishes.wishes(score, 0, 64)
    bound = np.ones((4, 64), np.float32)

    def made(seed: int = 1, genre: str | None = "rock", where: np.ndarray = bound) -> list[tuple]:
        condition = wishes.joined(asked, where)[None]
        notes = generate(network, condition, tempo=[(120.0, 0.5)], genre=[genre], mood=["happy"], seeds=[seed], steps=3)
        return table(notes[0])

    first = made()
    assert first == made() and len(first) > 0
    assert first != made(seed=2) and first != made(genre="jazz") and first != made(where=0 * bound)


class OneNote(nn.Module):
    """Believes in one note alone, which genre makes quieter."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, x: Tensor, time: Tensor, cond: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        said = torch.full((len(x), roll.CHANNELS, x.shape[-1]), -1e4)
        said[:, 0, 8] = 1e4
        quiet = torch.where(cond["genre"] >= 0, -1.0, 1.0)[:, None, None]
        return said, quiet.expand(said.shape)


def test_guidance_exaggerates_no_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "Piano", OneNote)
    asked = np.zeros((1, wishes.CHANNELS, 64), np.float32)

    def velocity(guidance: float) -> float:
        made = generate(
            nn.Identity(), asked, tempo=[(120, 0.5)], genre=["folk"], mood=[None], seeds=[1], guidance=guidance
        )
        assert len(made[0]) == 1
        return float(made[0].velocity[0])

    assert velocity(3.0) == pytest.approx(velocity(1.0), abs=3.0) and velocity(1.0) > 20.0


def test_rows_that_do_not_fit_are_refused() -> None:
    asked = np.zeros((2, wishes.CHANNELS, 64), np.float32)
    with pytest.raises(UserError, match="2 rows of controls, 1 seeds"):
        generate(train.new_network(TINY), asked, tempo=[(120, 0.5)], genre=[None], mood=[None], seeds=[1])


def test_the_world_itself_scores_full_marks_and_another_piece_does_not() -> None:
    rng = np.random.default_rng(0)
    cuts = [train.excerpt(5, k, "test", rng) for k in range(12)]
    asked = [wishes.wishes(score, first, 64) for score, first in cuts]
    rolls = [roll.encode(score.notes, first, 64) for score, first in cuts]
    scored = (train._followed(given, asked, cuts).values() for given in (rolls, rolls[1:] + rolls[:1]))
    (melody, dynamics, key), (other_melody, other_dynamics, other_key) = scored
    assert melody > 0.8 and key > 0.98 and dynamics > 0.3
    assert other_melody < 0.4 and other_key < 0.95 and abs(other_dynamics) < dynamics - 0.2


@pytest.mark.prove
def test_the_recipe_writes_a_checkpoint_with_its_numbers(tmp_path: Path) -> None:
    from shared import checkpoints

    path = train.train(out=tmp_path, steps=20, minutes=5)
    network, card = checkpoints.load(path, recipe="audio/score")
    assert card["steps"] == 20 and card["metrics"]["world"]["in_key"] > 0.9
    asked = np.zeros((1, wishes.CHANNELS, 64), np.float32)
    made = rolls(network, asked, tempo=[(120, 0.5)], genre=[None], mood=[None], seeds=[1], steps=2)
    assert np.isfinite(made).all()
