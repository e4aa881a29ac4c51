"""The spectrogram engine: masking, controls beside a frozen base, generation, and recipes that train and resume."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import HOP, RATE, count, rasterise
from domains.audio.controls.json_form import text
from domains.audio.controls.notes import Note
from domains.audio.controls.spans import Span, Spans
from domains.audio.controls.tags import GENRES, Tags
from domains.audio.extract.spectra import WINDOW
from domains.audio.spectrogram import clips, train
from domains.audio.spectrogram import mend as mend_module
from domains.audio.spectrogram import model as model_module
from domains.audio.spectrogram import run as run_module
from domains.audio.spectrogram.control import ControlConfig, SpectrogramControl, hint, hints
from domains.audio.spectrogram.generate import FADE, Kept, Take, generate
from domains.audio.spectrogram.level import LevelPull, heard_levels
from domains.audio.spectrogram.masking import ALL_SAID, NONE_SAID, PARTIAL, draw_bound
from domains.audio.spectrogram.measure import measured
from domains.audio.spectrogram.mel import MELS, Codec, mel_levels
from domains.audio.spectrogram.model import (
    PAPER,
    SMALL_DIT,
    SMALL_UNET,
    Format,
    Spectrograms,
    denoiser,
    grain,
    new_network,
    told,
)
from domains.audio.spectrogram.prior import PriorConfig, PriorUNet
from shared import checkpoints
from shared.adapters import files
from shared.adapters.card import Card
from shared.adapters.controlnet import HINT
from shared.adapters.host import host_of
from shared.denoiser import Prediction
from shared.errors import UserError
from shared.noise import seeded
from suite.cli import main

UNET = replace(SMALL_UNET, channels=(16, 16))
DIT = replace(SMALL_DIT, width=32, layers=2, heads=2)
PLANE = replace(PAPER, channels=(8, 8, 8), blocks=1)
PRIOR = PriorConfig(replace(UNET, in_channels=2 * MELS), frames=3, rank=24)
TINY: dict[str, Any] = {"unet": (UNET, "v"), "prior": (PRIOR, "x0"), "dit": (DIT, "x0"), "paper": (PLANE, "eps")}
FORMS = {
    name: Format(says, name == "paper", Codec.paper() if name == "paper" else Codec(100.0, (-60.0,), (20.0,)), (-25, 8))
    for name, (_, says) in TINY.items()
}
FRAMES = 32
LENGTH = FRAMES * HOP / RATE


def woken(name: str, *, control: bool = True, paper: bool = False) -> Spectrograms:
    """A tiny model whose zero layers are not zero, so that everything acts."""
    network = new_network(TINY[name][0])
    config = ControlConfig.of(paper_exact=paper, hidden=8)
    with seeded(0, "control"):
        adapter = SpectrogramControl(host_of(network), config) if control else None
    generator = torch.Generator().manual_seed(1)
    for module in (network, adapter):
        for parameter in module.parameters() if module is not None else ():
            if not bool(parameter.any()):
                parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    return Spectrograms(network.eval(), FORMS[name], {}, adapter if adapter is None else adapter.eval())


def wishes(**changes: Any) -> Controls:
    said: dict[str, Any] = {
        "length": LENGTH,
        "melody": (Note(0.0, 0.2, 64), Note(0.2, LENGTH, 67)),
        "dynamics": Dynamics(((0.0, -30.0), (LENGTH, -20.0))),
        "grid": BeatGrid.steady(240, "4/4"),
        "tags": Tags("jazz", "calm"),
    }
    return Controls(**(said | changes))


def plain(levels: Tensor, samples: int) -> Tensor:
    """A decoder that costs nothing: tests of levels need no wave."""
    return torch.zeros(len(levels), samples)


def made(model: Spectrograms, *asked: Controls, seeds: tuple[int, ...] = (0,), **options: Any) -> list[Take]:
    return generate(model, asked, seeds=seeds, **({"steps": 3, "decoder": plain} | options))


# ------------------------------------------------------------------------------------------------------------- masking


def test_controls_are_dropped_as_often_as_the_paper_says() -> None:
    rng, rows = np.random.default_rng(0), 4000
    bound = np.array([draw_bound(rng, 3, 40) for _ in range(rows)])  # (rows, controls, frames)
    said: np.ndarray = np.any(bound, axis=2)
    coins = 1 - NONE_SAID - ALL_SAID
    for share, wanted in (
        (said.all(axis=1).mean(), ALL_SAID + coins / 8),
        ((~said).all(axis=1).mean(), NONE_SAID + coins / 8),
        (said[:, 0].mean(), ALL_SAID + coins / 2),
    ):
        assert abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / rows) + 1e-3  # all 40 frames may be a span
    spans: np.ndarray = bound[said]
    cut: np.ndarray = ~np.all(spans, axis=1)
    assert abs(cut.mean() - PARTIAL) < 0.03
    lost = (~spans[cut]).mean(axis=1)
    assert abs(lost.mean() - (41 / 3 + 1) / 40) < 0.02  # mean of b - a + 1 over a < b in 1..40


def test_a_span_is_one_piece_and_each_control_has_its_own() -> None:
    rng = np.random.default_rng(1)
    own = 0
    for _ in range(200):
        bound = draw_bound(rng, 2, 30, partial=1.0)
        for row in bound[bound.any(axis=1)]:
            assert np.abs(np.diff(np.r_[0, ~row, 0].astype(int))).sum() == 2
        own += int(bool(bound.any(axis=1).all()) and not np.array_equal(*bound))
    assert own > 40


def test_the_full_scheme_drops_whole_controls_alone() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        bound = draw_bound(rng, 3, 10, partial=0.0)
        assert np.array_equal(bound.any(axis=1), bound.all(axis=1))


# ------------------------------------------------------------------------------------------------------------- controls


@pytest.mark.parametrize("name", TINY)
def test_a_fresh_control_is_the_base_to_the_bit(name: str) -> None:
    network = woken(name, control=False).network
    fresh = SpectrogramControl(host_of(network), ControlConfig.of(paper_exact=name == "paper"))
    assert fresh.config.zero_in == (name == "paper")
    form, x = FORMS[name], torch.randn(1, MELS, 16)
    x = x[:, None] if name == "paper" else x
    said = hints([rasterise(wishes(), frames=16)], fresh.config, form.level, 16)
    time = torch.tensor([0.5])
    with torch.no_grad():
        alone = network(x, time, {})
        with host_of(network).attached([Card(fresh, {HINT: said})]) as adapted:
            adapted.tell(form.process.at(0.5 * form.process.ends[1]), ["cond"])
            assert torch.equal(adapted(x, time, {}), alone)
    assert bool(alone.any())


def test_what_is_said_where_it_does_not_bind_is_not_heard() -> None:
    curves, config = rasterise(wishes()), ControlConfig.of()
    bound = np.ones((4, FRAMES), dtype=bool)
    bound[:, 10:20] = False
    other = replace(curves, melody=np.roll(curves.melody, 1, axis=1), dynamics=curves.dynamics - 5)
    first, second = (hint(each, config, (-25, 8), bound) for each in (curves, other))
    assert np.array_equal(first[:, 10:20], second[:, 10:20]) and not first[:, 10:20].any()
    assert not np.array_equal(first[:, :10], second[:, :10])


def test_the_paper_has_no_masks_and_no_chords_and_ours_has_both() -> None:
    assert ControlConfig.of(paper_exact=True).widths == (12, 1, 2)
    assert ControlConfig.of().widths == (13, 2, 3, 25)
    quiet = rasterise(wishes(melody=(), dynamics=Dynamics(((0.0, -25.0),)), grid=None))
    assert not hint(quiet, ControlConfig.of(paper_exact=True), (-25, 8)).any()  # the mean level looks like no wish
    assert hint(quiet, ControlConfig.of(), (-25, 8)).any()


def test_a_control_comes_back_from_its_file_for_its_own_base_alone(tmp_path: Path) -> None:
    model = woken("unet")
    assert model.control is not None
    facts = {"name": "x", "recipe": "x", "data": [clips.DATA], "licence": "x", "minutes": 0, "metrics": {}}
    files.save(tmp_path / "c.safetensors", model.control, host_of(model.network), facts)
    again, _ = files.load(tmp_path / "c.safetensors", host_of(model.network))
    assert again.config == model.control.config
    for name, value in model.control.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=1e-3), name
    with pytest.raises(UserError, match="made for"):
        files.load(tmp_path / "c.safetensors", host_of(new_network(UNET, seed=5)))


def test_no_tags_are_a_row_of_nothing_and_the_networks_read_it() -> None:
    rows = told([Tags(), Tags(genre=GENRES[2]), Tags("pop", "sad")])
    assert bool(rows[0].isnan().all())
    assert rows[1].tolist() == [float(k == 2) for k in range(20)]
    assert float(rows[2].sum()) == 2
    network = woken("unet", control=False).network
    x, time = torch.randn(1, MELS, 8), torch.tensor([0.3])
    with torch.no_grad():
        assert torch.equal(network(x, time, {"tags": rows[:1]}), network(x, time, {}))
        assert not torch.equal(network(x, time, {"tags": rows[2:]}), network(x, time, {}))


# ----------------------------------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("name", TINY)
def test_a_take_is_a_function_of_its_controls_and_seed(name: str) -> None:
    model, asked = woken(name, paper=name == "paper"), wishes()
    one, two = made(model, asked, asked, seeds=(1, 2))
    _, again = made(model, asked, asked, seeds=(1, 2))
    assert np.array_equal(two.levels, again.levels)
    (alone,) = made(model, asked, seeds=(2,))  # another batch rounds otherwise, and the first step divides by a = 0.02
    np.testing.assert_allclose(alone.levels, two.levels, atol=1e-2)
    assert not np.allclose(one.levels, two.levels)
    (free,) = made(model, asked.only(), seeds=(2,))
    assert not np.allclose(alone.levels, free.levels)
    assert alone.calls == 2 * 3 and free.calls == 2 * 3  # steps, with and without tags


@pytest.mark.parametrize("length", [0.5, 0.5 + 1 / RATE, 2 * LENGTH])
def test_a_take_has_exactly_the_length_that_is_asked_for(length: float) -> None:
    asked = Controls(length=length, melody=(Note(0.0, length, 60),))
    (take,) = made(woken("unet"), asked, steps=1, decoder=plain)
    assert take.wave.shape == (asked.samples(RATE),)
    assert take.levels.shape == (MELS, count(asked.samples(RATE)))
    assert take.calls == 1  # no tags, no second call


def test_a_control_bites_only_through_the_spans_in_which_it_binds() -> None:
    model = woken("unet")
    nowhere = wishes(spans=Spans(melody=(), dynamics=(), rhythm=()))
    (free,), (never,) = made(model, wishes().only()), made(model, nowhere)
    assert np.array_equal(free.levels, never.levels)
    (half,) = made(model, wishes(spans=Spans(melody=(Span(0.0, LENGTH / 2),))))
    assert not np.array_equal(half.levels, made(model, wishes())[0].levels)


def test_what_is_kept_of_a_recording_stays_as_it_is() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(round(LENGTH * RATE)).astype(np.float32)
    kept = Kept(wave, (Span(0.0, LENGTH / 2),))
    (take,) = made(woken("unet"), wishes(), kept=kept, repeats=2)
    own = mel_levels(torch.from_numpy(wave)).numpy()
    reach = WINDOW // 2 // HOP  # frames that look across a border
    known = slice(reach, FRAMES // 2 - reach)
    np.testing.assert_allclose(take.levels[:, known], own[:, known], atol=1e-2)
    assert np.abs(take.levels[:, FRAMES // 2 :] - own[:, FRAMES // 2 :]).mean() > 3
    border = len(wave) // 2
    other = np.concatenate([wave[:border], np.float32(0.1) - wave[border:]])
    (again,) = made(woken("unet"), wishes(), kept=Kept(other, kept.spans), repeats=2)
    assert np.array_equal(again.levels, take.levels)  # nothing of what is replaced is heard
    sure = border - round(FADE * RATE) - 1
    assert np.array_equal(take.wave[:sure], wave[:sure])
    assert not take.wave[border + 1 :].any()  # all that this decoder makes
    assert 0 < np.abs(take.wave[sure:border]).max() <= np.abs(wave).max()


def test_wishes_that_do_not_fit_one_another_are_refused() -> None:
    model = woken("unet", control=False)
    for asked, seeds, words in (
        ([wishes(), wishes(length=2 * LENGTH)], (0, 1), "samples"),
        ([wishes()], (0, 1), "seeds"),
        ([Controls(length=25.0)], (0,), "at most 24"),
    ):
        with pytest.raises(UserError, match=words):
            generate(model, asked, seeds=seeds, steps=1)


# ---------------------------------------------------------------------------------------------------------------- level


def test_the_gradient_of_the_level_is_that_of_finite_differences() -> None:
    codec = Codec(100.0, (-60.0,), (20.0,))
    rng = np.random.default_rng(0)
    x0 = torch.from_numpy(rng.standard_normal((1, MELS, 9))).requires_grad_()
    asked, where = torch.full((1, 9), -20.0, dtype=torch.float64), torch.arange(9)[None] > 2
    pull, form = LevelPull(codec, asked, where, 0.7), FORMS["unet"]
    at = form.process.at(0.5)

    def energy(value: Tensor) -> Tensor:
        return pull.energy(Prediction(form.process, value, at, None, value), None, {}).sum()

    (slope,) = torch.autograd.grad(energy(x0), x0)
    for place in [(0, int(m), int(t)) for m, t in rng.integers(0, (MELS, 9), (6, 2))]:
        step = torch.zeros_like(x0)
        step[place] = 1e-4
        numeric = (energy(x0 + step) - energy(x0 - step)) / 2e-4
        assert abs(float(numeric.detach() - slope[place])) < 1e-6 + 1e-4 * abs(float(slope[place]))
    assert bool(slope.any())


def off(take: Take, asked: Controls) -> float:
    """dB^2 by which a take misses its dynamics."""
    wanted = rasterise(asked).dynamics[:, 0]
    return float(np.mean((heard_levels(torch.from_numpy(take.levels)).numpy() - wanted) ** 2))


def test_a_shift_of_the_level_ends_at_the_level_and_costs_no_call() -> None:
    model, asked = woken("unet"), wishes()
    (plain_take,), (shifted,) = made(model, asked), made(model, asked, level_shift=1.0)
    assert off(shifted, asked) < off(plain_take, asked) / 4
    assert shifted.calls == plain_take.calls and shifted.backprops == 0


def test_a_pull_of_the_level_goes_through_the_network_and_says_what_it_costs() -> None:
    model, asked = woken("unet"), wishes(tags=Tags())
    (plain_take,), (pulled,) = made(model, asked, steps=6), made(model, asked, steps=6, level_pull=3.0)
    assert off(pulled, asked) < off(plain_take, asked)
    assert (pulled.calls, pulled.backprops) == (6, 6)


# -------------------------------------------------------------------------------------------------------------- recipes


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two bars a piece."""
    monkeypatch.setattr(clips, "BARS", 2)
    yield
    for cache in (clips.sound, clips.piece, clips._wave):
        cache.cache_clear()


@pytest.mark.parametrize("name", TINY)
def test_the_recipes_train_and_write_what_generates(name: str, tmp_path: Path, short_pieces: None) -> None:
    network, says = TINY[name]
    size = train.Size(network, says, 2, 1e-3, 0.9, fresh=0.1, warmup=2, frames=16, first=2, paper=name == "paper")
    base = train.train(size=name, out=tmp_path / "base", steps=20, recipe=size, count=0)
    before = base.read_bytes()
    control = train.train_control(size=name, out=tmp_path / "control", steps=20, recipe=size, base=base, count=0)
    assert base.read_bytes() == before
    model = Spectrograms.from_pretrained(base, control)
    assert model.format.says == says and model.format.discrete == (name == "paper")
    assert any(key.startswith("error of x0") for key in model.card["metrics"])
    assert grain(model.network) in (2, 4)
    (with_it,), (without,) = made(model, wishes()), made(model, wishes().only())
    assert not np.array_equal(with_it.levels, without.levels)
    fresh = SpectrogramControl(host_of(model.network), ControlConfig.of(paper_exact=name == "paper"))
    assert model.control.config == fresh.config
    assert bool(model.control.zeros[0].weight.any())  # it has learned something


def test_a_batch_is_a_function_of_its_step_and_its_loss_of_the_generator(short_pieces: None) -> None:
    size = train.Size(UNET, "v", 2, 1e-3, 0.9, fresh=0.5, frames=16, first=2)
    config = ControlConfig.of()
    batches = train.Clips(size, FORMS["unet"], control=config)
    one, two = batches(3), train.Clips(size, FORMS["unet"], control=config)(3)
    assert one.keys() == {"x0", "tags", HINT}
    for key in one:
        assert torch.equal(one[key].nan_to_num(9), two[key].nan_to_num(9)), key
    assert one[HINT].shape == (2, config.channels, 16)
    assert not torch.equal(batches(4)["x0"], one["x0"])


def test_the_pool_of_pieces_grows_to_its_size_and_moves_on_with_the_step() -> None:
    assert clips.window(0, 0.5, 4, 6) == range(0, 4)
    assert clips.window(3, 0.5, 4, 6) == range(0, 5)
    assert clips.window(10, 0.5, 4, 6) == range(3, 9)


def test_training_never_plays_the_instruments_that_are_held_back() -> None:
    from domains.audio.compose.genres import GENRES_TABLE

    for role in clips.ROLES:
        held = {program for genre in GENRES_TABLE.values() for program in genre.held.get(role, ())}
        assert held and held.isdisjoint(clips.programs(role))


def test_the_dynamics_of_a_clip_are_those_of_its_sound(short_pieces: None) -> None:
    whole = clips.piece(3, 0, "test")
    heard = heard_levels(torch.from_numpy(whole.levels.astype(np.float32))).numpy()
    np.testing.assert_allclose(heard, whole.curves.dynamics[:, 0], atol=0.1)
    asked = clips.asked(whole, 10, 40)
    assert count(asked.samples(RATE)) == 40
    np.testing.assert_allclose(rasterise(asked).dynamics[:, 0], whole.curves.dynamics[10:50, 0], atol=0.3)


def test_every_network_of_a_recipe_fits_into_a_checkpoint() -> None:
    for name, size in train.SIZES.items():
        with torch.device("meta"):
            network: nn.Module = new_network(size.network)
        host = host_of(network)
        control = SpectrogramControl(host, ControlConfig.of(paper_exact=size.paper))
        for module in (network, control):
            weights = sum(p.numel() for p in module.parameters())
            assert 2 * weights < 0.99 * checkpoints.LARGEST, (name, weights)
    assert denoiser(new_network(UNET), FORMS["unet"]).null is not None


@pytest.mark.prove
def test_a_card_says_controlled_uncontrolled_ceiling_and_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "BARS", 4)
    said = measured(woken("unet"), 2, 192)
    for cache in (clips.sound, clips.piece):
        cache.cache_clear()
    assert {"melody", "dynamics_micro", "dynamics_macro", "level_error", "beat", "downbeat"} <= said.keys()
    for entry in said.values():
        assert entry.keys() == {"value", "low", "high", "uncontrolled", "ceiling", "chance"}
    assert said["melody"]["ceiling"] > 0.8 > said["melody"]["value"]
    assert said["dynamics_micro"]["ceiling"] > 0.95
    assert said["level_error"]["ceiling"] < 1 < said["level_error"]["value"]


def correlated(seed: int, frames: int = 4000) -> Tensor:
    """(160, frames) of unit size on the whole: eight sources, smooth in time, and a little of every bin's own."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(MELS, 8, generator=torch.Generator().manual_seed(5)) / 8**0.5
    sources = torch.randn(8, frames + 2, generator=generator).unfold(1, 3, 1).sum(2) / 3**0.5
    return mix @ sources + 0.1 * torch.randn(MELS, frames, generator=generator)


@pytest.mark.parametrize("time", [0.05, 0.3, 0.6, 0.9])
def test_an_untrained_network_behind_the_filter_leaves_the_least_error_of_a_linear_one(time: float) -> None:
    network = PriorUNet(PRIOR)
    network.learn([correlated(1, 20_000)])
    x0 = correlated(2)[None]
    angle = np.pi / 2 * time
    x = np.cos(angle) * x0 + np.sin(angle) * torch.randn(x0.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        said = network(x, torch.tensor([time]), {})
        w, e = network.estimate(x, torch.tensor([time]))
    assert torch.equal(said, w)
    error = (said - x0)[..., 2:-2].square().mean()
    assert float(error) == pytest.approx(float(e.square().mean()), rel=0.05)
    spread = float(x0.square().mean())
    alone = spread * np.sin(angle) ** 2 / (spread * np.cos(angle) ** 2 + np.sin(angle) ** 2)  # of one number
    assert float(error) < 0.75 * alone


def test_the_filter_hands_back_what_has_no_noise() -> None:
    network = PriorUNet(PRIOR)
    network.learn([correlated(1)])
    x = correlated(4, 64)[None]
    with torch.no_grad():
        assert torch.allclose(network(x, torch.zeros(1), {}), x, atol=1e-3)


# ------------------------------------------------------------------------------------------------------------ for users


def suite(*words: Any) -> int:
    return main(["audio", "generate", *map(str, words)])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An untrained model in the place of the one that ships."""
    (tmp_path / "weights").write_bytes(b"of no use")
    for name in ("WEIGHTS", "CONTROL_WEIGHTS"):
        monkeypatch.setattr(run_module, name, tmp_path / "weights")
    model = woken("unet")
    for module in (run_module, mend_module):
        monkeypatch.setattr(module, "shipped", lambda: model)


def test_the_command_writes_sound_and_what_was_asked_and_obtained(
    installed: None, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(text(wishes(length=2.0)))
    words = ("--engine", "spectrogram", "--controls", tmp_path / "c.json", "--takes", 2, "--steps", 2)
    assert suite(*words, "--rate", 48000, "--out", tmp_path / "a") == 0
    assert "2 takes of 2.00 s: 4 calls" in capsys.readouterr().out
    wave, rate = soundfile.read(tmp_path / "a" / "take_2.wav")
    assert (rate, wave.shape) == (48_000, (96_000,)) and np.isfinite(wave).all() and wave.any()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *(f"take_{k}.{kind}" for k in (1, 2) for kind in ("wav", "obtained.json")),
        "asked.json",
        "report.json",
    }
    facts = json.loads((tmp_path / "a" / "report.json").read_text())["report"]
    assert facts["engine"] == "spectrogram" and facts["binds"] == ["melody", "dynamics", "rhythm"]
    assert [one["seed"] for one in facts["takes"]] == [0, 1]
    assert all(one["peak_dbtp"] <= -0.99 for one in facts["takes"])
    assert "reaches 11.03 kHz" in " ".join(facts["notes"])
    assert set(facts["takes"][0]["scores"]["sound"]) >= {"melody", "dynamics_r", "beat_f1"}
    assert suite("--settings", tmp_path / "a" / "report.json", "--out", tmp_path / "b") == 0
    for name in ("take_1.obtained.json", "take_2.obtained.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--stems",), "no parts"),
        (("--loop",), "does not ring"),
        (("--swing", "0.6"), "swings"),
        (("--bars", "40"), "at most 24 s"),
    ],
)
def test_what_belongs_to_notes_is_refused_in_a_sentence(
    installed: None, tmp_path: Path, capsys: Any, words: tuple[str, ...], sentence: str
) -> None:
    assert suite("--engine", "spectrogram", *words, "--out", tmp_path / "out") == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_controls_without_bars_need_none(installed: None, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text(wishes(length=2.0, grid=None)))
    words = ("--engine", "spectrogram", "--controls", tmp_path / "c.json", "--takes", 1, "--steps", 2, "--no-listen")
    assert suite(*words, "--out", tmp_path / "a") == 0
    facts = json.loads((tmp_path / "a" / "report.json").read_text())["report"]
    assert facts["bpm"] is None and facts["bars"] is None and facts["takes"][0]["scores"]["sound"] is None


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Five seconds in stereo at 44.1 kHz, and a grid of 120 BPM that begins with them: two bars and a half."""
    time = np.arange(5 * 44_100) / 44_100
    wave = 0.2 * np.stack([np.sin(880 * np.pi * time), np.sin(660 * np.pi * time)], axis=1)
    soundfile.write(tmp_path / "song.wav", wave, 44_100, subtype="PCM_24")
    (tmp_path / "grid.json").write_text(text(Controls(length=5.0, grid=BeatGrid.steady(120, "4/4"))))
    return tmp_path / "song.wav"


def mend(command: str, song: Path, *words: Any) -> int:
    given = ("--controls", song.parent / "grid.json", "--takes", 1, "--steps", 2)
    return main(["audio", command, *map(str, (song, *given, *words, "--out", song.parent / "out"))])


def test_bars_of_a_recording_are_made_and_every_other_sample_stays(installed: None, song: Path, capsys: Any) -> None:
    assert mend("inpaint", song, "--from-bar", 2, "--to-bar", 2) == 0
    assert "made: 2.00 to 4.00 s" in capsys.readouterr().out
    before, after = (soundfile.read(path, dtype="int32")[0] for path in (song, song.parent / "out" / "take_1.wav"))
    assert after.shape == before.shape
    borders = [round((2 - FADE) * 44_100), round((4 + FADE) * 44_100) + 1]
    assert np.array_equal(after[: borders[0]], before[: borders[0]])
    assert np.array_equal(after[borders[1] :], before[borders[1] :])
    assert np.mean(after[2 * 44_100 : 4 * 44_100] == before[2 * 44_100 : 4 * 44_100]) < 0.01
    steps = np.abs(np.diff(after / 2**31, axis=0)).max(axis=1)
    inside = steps[borders[0] + 3000 : borders[1] - 3000].max()
    assert all(steps[at - 100 : at + 100].max() <= inside for at in borders)  # no click


def test_without_weights_a_sentence_says_so_at_once(song: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "WEIGHTS", song.parent / "none.safetensors")
    model_module.shipped.cache_clear()
    for command in ("inpaint", "continue"):
        assert mend(command, song) == 2
        said = capsys.readouterr().err
        assert "has no trained weights yet; train it with" in said and said.count("\n") == 1


def test_a_recording_goes_on_to_whole_bars(installed: None, song: Path) -> None:
    assert mend("continue", song, "--bars", 1) == 0
    before, after = (soundfile.read(path, dtype="int32")[0] for path in (song, song.parent / "out" / "take_1.wav"))
    assert len(after) == 8 * 44_100  # three bars are begun, and one more
    kept = round((5 - FADE) * 44_100)
    assert np.array_equal(after[:kept], before[:kept]) and after[len(before) :].any()
    facts = json.loads((song.parent / "out" / "report.json").read_text())["report"]
    assert facts["length"] == pytest.approx(8.0) and facts["engine"] == "spectrogram"


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [
        ("inpaint", ("--parts", "bass"), "has no parts"),
        ("inpaint", ("--from-bar", 5), "bar 5 of 3"),
        ("continue", ("--bars", 20), "ask for 22 s"),
        ("continue", ("--stems",), "has no parts"),
    ],
)
def test_what_a_recording_cannot_be_asked_is_refused(
    installed: None, song: Path, capsys: Any, command: str, words: tuple[Any, ...], sentence: str
) -> None:
    assert mend(command, song, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not (song.parent / "out").exists()
