"""The vocoder gives the samples that are asked for, its recipe trains and resumes, and its table is fair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP, RATE
from domains.audio.evaluate import Heard
from domains.audio.extract.extract import curves
from domains.audio.spectrogram import clips, vocoder_train
from domains.audio.spectrogram.generate import usual_decoder
from domains.audio.spectrogram.mel import griffin_lim, mel_levels
from domains.audio.spectrogram.vocoder import RECIPE, TAKES_OVER, Vocoder, VocoderConfig, from_pretrained
from shared import checkpoints
from shared.errors import UserError
from tests.audio.sounds import clicks, sine

TINY = VocoderConfig(width=16, blocks=1, expansion=2)


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clips, "BARS", 2)
    yield
    for cache in (clips.sound, clips.piece, clips._wave):
        cache.cache_clear()


@pytest.mark.parametrize("samples", [5 * HOP, 4 * HOP + 1])
def test_a_vocoder_gives_exactly_the_samples_that_are_asked_for(samples: int) -> None:
    network = Vocoder(TINY)
    assert network.decode(torch.full((2, 160, 5), -40.0), samples).shape == (2, samples)
    with pytest.raises(UserError, match="frames"):
        network.decode(torch.full((2, 160, 6), -40.0), samples)


def test_an_untrained_vocoder_has_the_right_spectrum_already() -> None:
    network = Vocoder(TINY)
    torch.nn.init.zeros_(network.head.weight)
    noise = 0.1 * torch.randn(1, 40 * HOP)
    said = network._said(mel_levels(noise)).exp().square()[..., 4:-4].mean(dim=2)
    bins = torch.stft(noise, 1024, HOP, window=torch.hann_window(1024), return_complex=True)
    real = bins.abs().square()[..., 4:-4].mean(dim=2)
    assert abs(float((said[:, 5:-5].log() - real[:, 5:-5].log()).mean())) < 0.15


def test_the_loss_is_nothing_for_the_clip_itself_and_sees_level_and_pitch() -> None:
    wave = torch.from_numpy(sine(440, 0.3))[None]
    assert float(vocoder_train.spectral_loss(wave, wave).max()) < 1e-3
    near = float(vocoder_train.spectral_loss(0.9 * wave, wave))
    far = float(vocoder_train.spectral_loss(0.5 * wave, wave))
    other = float(vocoder_train.spectral_loss(torch.from_numpy(sine(660, 0.3))[None], wave))
    assert 0.05 < near < far < other
    silent = torch.zeros(1, 4096, requires_grad=True)
    vocoder_train.spectral_loss(silent, silent.detach()).sum().backward()
    assert silent.grad is not None and bool(torch.isfinite(silent.grad).all())


def test_the_recipe_trains_resumes_and_is_found_by_its_name(tmp_path: Path, short_pieces: None) -> None:
    size = vocoder_train.Size(TINY, rows=2, lr=1e-3, ema=0.9, frames=16, fresh=0.1, first=2)
    path = vocoder_train.train(out=tmp_path, steps=20, recipe=size, count=0)
    network, card = from_pretrained(path)
    assert network.config == TINY and card["recipe"] == RECIPE and card["steps"] == 20
    assert card[TAKES_OVER] is False and usual_decoder(path) is griffin_lim
    facts = {key: card[key] for key in ("name", "recipe", "data", "licence", "minutes", "metrics")}
    checkpoints.save(tmp_path / "won.safetensors", network, facts | {TAKES_OVER: True})
    assert usual_decoder(tmp_path / "won.safetensors") is not griffin_lim
    assert usual_decoder(tmp_path / "absent.safetensors") is griffin_lim
    again = vocoder_train.train(out=tmp_path, steps=20, recipe=size, count=0, resume=True)
    assert checkpoints.read(again)[1]["sha256"] == card["sha256"]


def test_clips_for_the_vocoder_are_a_function_of_their_step(short_pieces: None) -> None:
    one, two = (vocoder_train.WaveClips(3, 16, first=2)(5)["wave"] for _ in range(2))
    assert torch.equal(one, two) and one.shape == (3, 16 * HOP) and bool(one.abs().max() < 1)
    assert not torch.equal(one, vocoder_train.WaveClips(3, 16, first=2)(6)["wave"])


def test_the_table_gives_the_sound_itself_full_marks_and_sees_what_a_decoder_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def listen(wave: np.ndarray) -> Heard:  # the real one tracks beats, which takes long to load
        melody, levels = curves(wave)
        loud = np.abs(wave)[: len(wave) // 441 * 441].reshape(-1, 441).max(axis=1)  # 20 ms each
        begun = np.flatnonzero((loud[1:] > 0.2) & (loud[:-1] < 0.2)) * 0.02 + 0.02
        return Heard(melody, levels, begun, begun[:0], begun)

    monkeypatch.setattr(vocoder_train, "listen", listen)
    beats = np.arange(0.25, 2.0, 0.5)
    wave = torch.from_numpy(np.clip(clicks(beats.tolist(), 2.0) + sine(440, 2.0, 0.05), -1, 1))
    asked = Controls(length=len(wave) / RATE, grid=BeatGrid.steady(120, "4/4", start=0.25))

    def deaf(levels: torch.Tensor, samples: int) -> torch.Tensor:
        return torch.from_numpy(sine(523.25, samples / RATE, 0.05))[None, :samples]

    rows = vocoder_train.ceiling([(wave, asked)], {"deaf": deaf, "same": lambda levels, samples: wave[None]})
    assert rows["original"]["convergence"] == 0 and rows["original"]["seconds"] == 0
    assert rows["original"]["melody"] == 1 and rows["original"]["beat"] > 0.9
    assert rows["same"]["convergence"] == 0
    assert rows["deaf"]["convergence"] > 0.5 and rows["deaf"]["beat"] < 0.5


def test_a_vocoder_takes_over_only_where_it_wins_every_row() -> None:
    old = {"melody": 0.9, "dynamics_r": 0.9, "beat": 0.9, "convergence": 0.3, "seconds": 0.1}
    new = {"melody": 0.95, "dynamics_r": 0.95, "beat": 0.95, "convergence": 0.2, "seconds": 0.1}
    assert vocoder_train.better({"griffin_lim": old, "vocoder": new})
    for key, worse in (("melody", 0.9), ("beat", None), ("convergence", 0.3), ("seconds", 0.11)):
        assert not vocoder_train.better({"griffin_lim": old, "vocoder": new | {key: worse}}), key
