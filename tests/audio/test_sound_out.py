"""Sound out: to the sample, never clipped, at the loudness that the standard says."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.audio.export import described, loop, read_sidecar, resampled, write_sound
from domains.audio.loudness import limited, loudness, matched, true_peak
from shared.errors import UserError
from tests.audio.sounds import sine


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize("bits", ["16", "24", "32f"])
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_a_file_has_the_samples_bits_and_sidecar_it_should(tmp_path, ending: str, bits: str, rate: int) -> None:
    path, wave = tmp_path / f"take.{ending}", np.stack([sine(440, 0.731), sine(660, 0.731)], 1)
    sidecar = {"synthetic": True, "seed": 7, "words": "größer"}
    if (ending, bits) == ("flac", "32f"):
        with pytest.raises(UserError, match="choose 16 or 24"):
            write_sound(path, wave, 22050, bits=bits)
        assert not list(tmp_path.iterdir())
        return
    write_sound(path, wave, 22050, out_rate=rate, bits=bits, sidecar=sidecar)
    found, found_rate = soundfile.read(str(path))
    assert found_rate == rate and found.shape == (round(len(wave) * rate / 22050), 2)
    assert soundfile.info(str(path)).subtype == {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}[bits]
    assert read_sidecar(path) == sidecar
    middle = slice(2000, -2000)
    expected = np.stack([sine(440, 1.0, rate=rate), sine(660, 1.0, rate=rate)], 1)[: len(found)]
    assert np.abs(found - expected)[middle].max() < {"16": 1e-4, "24": 2e-5, "32f": 2e-5}[bits]


def test_what_needs_no_change_is_written_as_it_is(tmp_path) -> None:
    wave = sine(440, 0.5, 0.8)
    write_sound(tmp_path / "a.wav", wave, 22050, out_rate=22050, bits="32f")
    np.testing.assert_array_equal(soundfile.read(str(tmp_path / "a.wav"), dtype="float32")[0], wave)
    write_sound(tmp_path / "b.wav", np.zeros(1000), 22050, out_rate=22050)
    assert not soundfile.read(str(tmp_path / "b.wav"))[0].any()


BAD = {
    "not a number": (np.array([0.0, np.nan]), {}, "no number"),
    "nothing": (np.zeros(0), {}, "shape"),
    "other rate": (np.zeros(10), {"out_rate": 32000}, "32000"),
    "other bits": (np.zeros(10), {"bits": "8"}, "8 bits"),
}


@pytest.mark.parametrize(("wave", "how", "said"), BAD.values(), ids=BAD)
def test_bad_output_leaves_no_file(tmp_path, wave, how: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        write_sound(tmp_path / "x.wav", wave, 22050, **how)
    with pytest.raises(UserError, match=r"neither \.wav"):
        write_sound(tmp_path / "x.mp3", np.zeros(10), 22050)
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 40.0), st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_wave_peaks_above_the_ceiling_between_its_samples_either(seed: int, gain: float, stereo: bool) -> None:
    rng = np.random.default_rng(seed)
    wave = gain * rng.standard_normal((3000, 2)) * np.exp(-np.arange(3000) / 800)[:, None]
    wave = wave if stereo else wave[:, 0]
    quiet = limited(wave, 22050)
    assert true_peak(quiet) <= -1.0 + 1e-4
    if true_peak(wave) <= -1.0:
        np.testing.assert_array_equal(quiet, wave.astype(np.float32))


def test_the_limiter_touches_only_what_is_near_a_peak() -> None:
    wave = sine(440, 1.0, 0.5)
    wave[11000:11100] *= 4
    quiet = limited(wave, 22050)
    assert true_peak(quiet) <= -1.0 + 1e-4
    np.testing.assert_allclose(quiet[:10500], wave[:10500], rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(quiet[12000:], wave[12000:], rtol=0.02, atol=1e-6)


def test_the_true_peak_is_seen_between_samples() -> None:
    quarter = np.sin(2 * np.pi * np.arange(2000) / 4 + np.pi / 4)  # samples at +-0.707 of a full-scale sine
    assert true_peak(quarter[500:1500]) == pytest.approx(0.0, abs=0.6)
    assert true_peak(np.zeros(100)) == -np.inf


# EBU Tech 3341 and BS.1770: a 997 Hz sine at full scale in one channel has -3.01 LUFS; in two channels 3 dB more.
@pytest.mark.parametrize(
    ("channels", "level", "expected"), [(1, 0.0, -3.01), (2, -23.0, -23.0), (2, -33.0, -33.0), (1, -40.0, -43.01)]
)
@pytest.mark.parametrize("rate", [44100, 48000])
def test_loudness_is_what_the_standard_says(channels: int, level: float, expected: float, rate: int) -> None:
    wave = np.repeat(sine(997.0, 5.0, 10 ** (level / 20), rate)[:, None], channels, 1).squeeze()
    assert loudness(wave, rate) == pytest.approx(expected, abs=0.1)


def test_more_than_five_channels_are_measured_without_the_low_one_and_with_what_is_behind_at_the_sides() -> None:
    tone, rate = sine(997.0, 2.0, 0.1, 48000), 48000
    alone = [loudness(np.eye(5)[k] * tone[:, None], rate) for k in range(5)]  # left, right, centre, two at the sides
    for channels, places in ((6, (0, 1, 2, 4, 5)), (7, (0, 1, 2, 5, 6)), (8, (0, 1, 2, 6, 7))):
        found = [loudness(np.eye(channels)[k] * tone[:, None], rate) for k in range(channels)]
        assert found[3] is None  # low frequency effects
        assert [found[k] for k in places] == pytest.approx(alone)
    for channels, behind in ((7, (4,)), (8, (4, 5))):
        for k in behind:
            assert loudness(np.eye(channels)[k] * tone[:, None], rate) == pytest.approx(alone[4], abs=1e-6)


def test_a_limiter_that_wraps_knows_no_seam() -> None:
    wave = sine(440, 1.0, 0.5)
    wave[:200] *= 4
    ring = limited(wave, 22050, wrap=True)
    assert true_peak(ring, wrap=True) <= -1.0 + 1e-4
    np.testing.assert_allclose(limited(np.roll(wave, 7000), 22050, wrap=True), np.roll(ring, 7000), atol=1e-6)
    assert np.abs(ring[-100:] / wave[-100:]).max() < 0.9  # the peak behind the seam is prepared before it


def test_the_gate_leaves_silence_out_and_short_or_silent_waves_have_no_loudness() -> None:
    tone = sine(997.0, 5.0, 0.1, 48000)
    assert loudness(np.concatenate([tone, np.zeros(5 * 48000)]), 48000) == pytest.approx(loudness(tone, 48000), abs=0.3)
    assert loudness(np.zeros(48000), 48000) is None and loudness(tone[:10000], 48000) is None


def test_takes_are_compared_at_one_loudness_without_being_limited() -> None:
    takes = [sine(440, 1.0, 0.05), sine(440, 1.0, 0.9), np.zeros(22050)]
    same = matched(takes, 22050, target=-16.0)
    assert loudness(same[0], 22050) == pytest.approx(loudness(same[1], 22050), abs=0.01)
    assert max(true_peak(wave) for wave in same[:2]) <= -1.0 + 1e-3 and not same[2].any()
    peaky = np.zeros(22050)
    peaky[::2205] = 0.9
    assert true_peak(matched([peaky, takes[0]], 22050)[0]) == pytest.approx(-1.0, abs=0.05)


@given(st.integers(1, 500), st.integers(1, 2000), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_loop_played_on_and_on_is_the_wave_started_anew_each_time(samples: int, n: int, seed: int) -> None:
    wave = np.random.default_rng(seed).standard_normal(n)
    folded = loop(wave, samples)
    assert len(folded) == samples
    rounds = -(-n // samples) + 1
    long = np.zeros(samples * (2 * rounds) + n)
    for k in range(2 * rounds):
        long[k * samples : k * samples + n] += wave
    np.testing.assert_allclose(long[rounds * samples : (rounds + 1) * samples], folded, atol=1e-5)


def test_the_true_bandwidth_is_said() -> None:
    assert "reaches 11.03 kHz" in described(22050, 48000) and "reaches 22.05 kHz" in described(44100, 44100)
    assert len(resampled(np.zeros(1001), 22050, 48000)) == round(1001 * 48000 / 22050)
