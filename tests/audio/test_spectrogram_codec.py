"""Sound to mel levels and back: frames, levels and pitches stay what the extractors say they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.audio.controls.frames import HOP, RATE, count
from domains.audio.data import read_recording
from domains.audio.evaluate import correlation, melody_accuracy
from domains.audio.extract import dynamics, spectra
from domains.audio.extract.extract import curves
from domains.audio.spectrogram import mel
from domains.audio.spectrogram.mel import Codec
from shared.errors import UserError
from tests.audio.sounds import clicks, sine


def noise(samples: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 2048, 5000])
def test_a_wave_has_as_many_frames_as_its_controls(samples: int) -> None:
    assert mel.mel_levels(torch.from_numpy(noise(samples))).shape == (mel.MELS, count(samples))


def test_the_power_of_a_frame_is_that_of_the_extractor() -> None:
    wave = noise(6000)
    (part,) = spectra.parts(wave)
    np.testing.assert_allclose(mel.spectrum_power(torch.from_numpy(wave)).numpy(), part.power, rtol=1e-3, atol=1e-6)


def test_the_mel_bins_of_a_frame_add_up_to_its_level() -> None:
    wave = sine(440, 0.3) + noise(round(0.3 * RATE), 0.01)
    (part,) = spectra.parts(wave)
    heard = mel.frame_levels(mel.mel_levels(torch.from_numpy(wave))).numpy()
    np.testing.assert_allclose(heard, dynamics.frame_levels(part.power), atol=1e-3)


def test_six_decibels_more_are_six_decibels_in_every_bin() -> None:
    wave = torch.from_numpy(noise(4096))
    more = mel.mel_levels(wave * 10 ** (6 / 20)) - mel.mel_levels(wave)
    assert float((more - 6).abs().max()) < 1e-3


def test_every_bin_of_a_spectrum_is_counted_once() -> None:
    for bins in (1025, 513):
        assert torch.allclose(mel.triangles(bins).sum(dim=0), torch.ones(bins), atol=1e-6)


@pytest.mark.parametrize("kind", ["paper", "small"])
def test_levels_come_back_from_the_codec_and_the_codec_from_its_card(kind: str) -> None:
    levels = torch.from_numpy(np.random.default_rng(1).uniform(-95, -5, (mel.MELS, 40)).astype(np.float32))
    codec = Codec.paper() if kind == "paper" else Codec.of_music([levels])
    x = codec.encode(levels)
    assert torch.allclose(codec.decode(x), levels, atol=1e-3)
    assert Codec(**json.loads(json.dumps(asdict(codec)))) == codec
    if kind == "paper":
        assert codec.encode(torch.tensor([[-160.0], [0.0]])).flatten().tolist() == [-1.0, 1.0]
    else:
        assert torch.allclose(x.mean(dim=1), torch.zeros(mel.MELS), atol=1e-4)
        assert torch.allclose(x.std(dim=1), torch.ones(mel.MELS), atol=1e-3)


def test_what_is_below_the_range_is_cut_off() -> None:
    assert float(Codec.paper().encode(torch.full((mel.MELS, 1), -300.0)).max()) == -1


def test_a_codec_for_other_bins_is_refused() -> None:
    with pytest.raises(UserError, match="offsets"):
        Codec(100.0, (0.0,) * 80, (1.0,))


def test_the_levels_of_silence_have_a_finite_gradient() -> None:
    wave = torch.zeros(2048, requires_grad=True)
    mel.mel_levels(wave).sum().backward()
    assert wave.grad is not None and bool(torch.isfinite(wave.grad).all())


def test_the_unmixed_spectrum_has_the_mel_bins_it_came_from() -> None:
    levels = mel.mel_levels(torch.from_numpy(sine(330, 0.3) + noise(round(0.3 * RATE), 0.01)))
    power = mel.unmixed(levels, 200)
    again = mel.decibels(mel.triangles() @ power)
    assert float(power.min()) >= 0
    assert float((again - levels).abs().mean()) < 0.5


def test_all_twelve_pitch_classes_come_back_from_griffin_lim() -> None:
    waves = [sine(440 * 2 ** ((60 + k - 69) / 12), 0.5) for k in range(12)]
    levels = mel.mel_levels(torch.from_numpy(np.stack(waves)))
    made = mel.griffin_lim(levels, len(waves[0]))
    for k, wave in enumerate(made.numpy()):
        melody, _ = curves(wave)
        assert (melody[5:-5].argmax(axis=1) == k).mean() > 0.95, k


def test_clicks_come_back_where_they_were() -> None:
    times = (0.2, 0.45, 0.8)
    wave = torch.from_numpy(clicks(times, 1.0))
    made = mel.griffin_lim(mel.mel_levels(wave), len(wave))
    heard = made.square().reshape(-1, 90).mean(dim=1)  # 4 ms each
    for at in times:
        near = heard[round((at - 0.06) * RATE / 90) : round((at + 0.06) * RATE / 90)]
        assert abs(int(near.argmax()) * 90 / RATE - 0.06) < 0.02
    assert float(heard[round(0.6 * RATE / 90)] / heard.max()) < 1e-2


@pytest.mark.parametrize("samples", [10 * HOP, 10 * HOP - 1, 9 * HOP + 1])
def test_griffin_lim_gives_exactly_the_samples_that_are_asked_for(samples: int) -> None:
    levels = torch.full((2, mel.MELS, 10), -40.0)
    made = mel.griffin_lim(levels, samples, iterations=2, seed=3)
    assert made.shape == (2, samples)
    assert torch.equal(made, mel.griffin_lim(levels, samples, iterations=2, seed=3))
    assert not torch.equal(made, mel.griffin_lim(levels, samples, iterations=2, seed=4))


@pytest.mark.parametrize("samples", [0, 9 * HOP, 10 * HOP + 1])
def test_samples_that_do_not_fit_the_frames_are_refused(samples: int) -> None:
    with pytest.raises(UserError, match="frames"):
        mel.griffin_lim(torch.zeros(mel.MELS, 10), samples)


def test_a_real_recording_keeps_its_melody_and_its_dynamics(shared_data: Path) -> None:
    wave = read_recording(shared_data / "audio" / "sorohanro_-_solo-trumpet-06.hq.ogg", seconds=2.5).wave
    made = mel.griffin_lim(mel.mel_levels(torch.from_numpy(wave)), len(wave)).numpy()
    (melody, levels), (melody_again, levels_again) = curves(wave), curves(made)
    agreement, r = melody_accuracy(melody, melody_again), correlation(levels, levels_again)
    assert agreement is not None and agreement > 0.9
    assert r is not None and r > 0.99
