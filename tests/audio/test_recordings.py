"""Recordings of any kind become one wave, with notes on what was done; the others are refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domains.audio import data
from domains.audio.data import read_recording
from domains.audio.recording import Measures
from shared.errors import UserError
from tests.audio.sounds import sine
from tests.conftest import SHARED_DATA

RECORDINGS = SHARED_DATA / "audio"


def saved(path, wave, rate=22050, **how):
    soundfile.write(str(path), wave, rate, **how)
    return path


def refusal(path, **how) -> str:
    with pytest.raises(UserError) as caught:
        read_recording(path, **how)
    sentence = str(caught.value)
    assert sentence.startswith(path.name) and "\n" not in sentence
    return sentence


@given(
    st.sampled_from([8000, 11025, 16000, 44100, 48000, 96000, 192000]),
    st.integers(1, 8),
    st.sampled_from([("wav", "PCM_16"), ("wav", "PCM_U8"), ("wav", "DOUBLE"), ("flac", "PCM_24"), ("ogg", "VORBIS")]),
    st.floats(0.2, 0.9),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_rate_channel_count_and_format_gives_the_same_tone(tmp_path, rate, channels, kind, seconds) -> None:
    if kind[0] == "flac" and rate > 96000:
        rate = 96000
    if (kind[1], channels) == ("VORBIS", 6):  # the sixth is for low effects alone: a tone of 440 Hz is not written
        channels = 5
    wave = sine(440.0, seconds, 0.5, rate)
    path = saved(tmp_path / f"tone.{kind[0]}", np.repeat(wave[:, None], channels, 1), rate, subtype=kind[1])
    read = read_recording(path)
    assert len(read.wave) == round(len(wave) * 22050 / rate) and read.wave.dtype == np.float32
    assert (read.source_rate, read.channels) == (rate, channels)
    middle = slice(1000, len(read.wave) - 1000)
    error = np.abs(read.wave - sine(440.0, seconds + 1)[: len(read.wave)])[middle]
    assert error.max() < (0.02 if kind[1] in ("VORBIS", "PCM_U8") else 1e-3)
    if kind[1] != "PCM_U8":  # eight bits are noisy up to the end
        assert read.bandwidth < 2000 and any("up to" in note for note in read.notes)


def test_an_mp3_is_read(tmp_path) -> None:
    read = read_recording(saved(tmp_path / "tone.mp3", sine(440.0, 1.0, rate=44100), 44100))
    assert read.seconds == pytest.approx(1.0, abs=0.1) and np.abs(read.wave).max() == pytest.approx(0.5, abs=0.05)


def test_blocks_leave_no_seam(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    path = saved(tmp_path / "noise.wav", 0.1 * rng.standard_normal((30000, 2)), 44100, subtype="FLOAT")
    whole = read_recording(path)
    monkeypatch.setattr(data, "BLOCK", 4096)
    told = []
    parts = read_recording(path, tell=lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(parts.wave, whole.wave, atol=1e-6)
    assert len(told) == 8 and told[-1] == (30000, 30000)
    assert parts.bandwidth == pytest.approx(whole.bandwidth, rel=0.02)


def test_a_part_of_a_recording_is_that_part(tmp_path) -> None:
    path = saved(tmp_path / "two.wav", np.concatenate([sine(440, 1.0, 0.5), sine(440, 1.0, 0.2)]), subtype="FLOAT")
    part = read_recording(path, start=0.75, seconds=1.0)
    assert len(part.wave) == 22050
    assert np.abs(part.wave[:5000]).max() == pytest.approx(0.5, abs=2e-3)
    assert np.abs(part.wave[6000:]).max() == pytest.approx(0.2, abs=2e-3)
    assert "begins at 3 s" in refusal(path, start=3.0)


def test_a_part_says_what_it_is_a_part_of(tmp_path) -> None:
    path = saved(tmp_path / "long.wav", sine(440, 4.0, 0.5), subtype="FLOAT")
    assert "1.5 of 4.0 s, from 2.0 s" in read_recording(path, start=2.0, seconds=1.5).notes
    assert not any("from" in note for note in read_recording(path).notes)


def test_all_channels_of_a_part_are_resampled_block_by_block(tmp_path, monkeypatch) -> None:
    wave = np.stack([sine(440, 2.0, 0.5, 96000), sine(660, 2.0, 0.2, 96000)], 1)
    path = saved(tmp_path / "wide.wav", wave, 96000, subtype="FLOAT")
    monkeypatch.setattr(data, "BLOCK", 4096)
    part = data.read_channels(path, rate=48000, start=0.5, seconds=1.0)
    assert part.shape == (48000, 2)
    wanted = np.stack([sine(440, 2.0, 0.5, 48000), sine(660, 2.0, 0.2, 48000)], 1)[24000:72000]
    assert np.abs(part - wanted)[500:-500].max() < 1e-3
    same = data.read_channels(path, rate=96000, start=0.5, seconds=9.0)
    assert np.array_equal(same, soundfile.read(path, dtype="float32", start=48000)[0])


ODD = {
    "clipped": (np.clip(3 * sine(220, 1.0), -0.99, 0.99), "it is clipped: "),
    "off centre": (0.2 + sine(220, 1.0, 0.3), "it was off centre by +0.200"),
    "beyond full scale": (sine(220, 1.0, 2.0), "it goes 6.0 dB above full scale"),
    "opposed": (np.stack([sine(220, 1.0), -sine(220, 1.0)], 1), "channel 1 alone was taken"),
    "stereo": (np.stack([sine(220, 1.0), sine(330, 1.0)], 1), "2 channels, their mean was taken"),
    "narrow": (sine(3000, 1.0), "it holds sound up to 3."),
}


@pytest.mark.parametrize(("wave", "note"), ODD.values(), ids=ODD)
def test_what_is_odd_is_accepted_and_said(tmp_path, wave, note: str) -> None:
    read = read_recording(saved(tmp_path / "odd.wav", wave, subtype="FLOAT"))
    assert any(note in said for said in read.notes), read.notes
    assert abs(read.wave.mean()) < 1e-3 and np.abs(read.wave).max() > 0.2


def test_a_wav_that_holds_less_than_its_header_says_is_read_and_said(tmp_path) -> None:
    whole = saved(tmp_path / "whole.wav", sine(440.0, 2.0, 0.5)).read_bytes()
    (tmp_path / "short.wav").write_bytes(whole[: len(whole) // 2])
    read = read_recording(tmp_path / "short.wav")
    assert read.seconds == pytest.approx(1.0, abs=0.01)
    assert "it is cut short: its header promises 2.00 s, the file holds 1.00 s" in read.notes
    place = whole.index(b"data") + 4
    for open_length in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"):  # as writers into a pipe leave it
        (tmp_path / "piped.wav").write_bytes(whole[:place] + open_length + whole[place + 4 :])
        assert not any("cut short" in note for note in read_recording(tmp_path / "piped.wav").notes)


def test_a_plain_recording_has_no_complaint(tmp_path) -> None:
    rng = np.random.default_rng(1)
    read = read_recording(saved(tmp_path / "plain.wav", 0.1 * rng.standard_normal(22050)))
    assert read.notes == ("one channel",) and read.bandwidth > 10_900


def test_what_is_above_the_analysis_is_said_to_be_lost(tmp_path) -> None:
    rng = np.random.default_rng(1)
    read = read_recording(saved(tmp_path / "wide.wav", 0.1 * rng.standard_normal(44100), 44100))
    assert "what lies above 11.025 kHz is not used" in read.notes


def test_no_sound_is_refused(tmp_path) -> None:
    path = tmp_path / "x.wav"
    assert "no such file" in refusal(path)
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.write_text("once upon a time")
    assert "no sound" in refusal(path)
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    assert "MP4 or M4A" in refusal(path)
    saved(path, np.zeros(0))
    assert "holds no sound" in refusal(path)
    saved(path, np.zeros(22050))
    assert "is silent" in refusal(path)
    saved(path, np.full(22050, 0.3))
    assert "is silent" in refusal(path)
    saved(path, sine(440, 0.05))
    assert "lasts 50 ms" in refusal(path)
    saved(path, sine(440, 1.0), 4000)
    assert "4000 Hz" in refusal(path)
    saved(path, np.repeat(sine(440, 0.5)[:, None], 9, 1))
    assert "9 channels" in refusal(path)
    wave = sine(440, 1.0)
    wave[11025] = np.nan
    saved(path, wave, subtype="FLOAT")
    assert "no number at 0.50 s" in refusal(path)
    saved(path, 32768 * sine(440, 1.0), subtype="FLOAT")
    assert "up to 16384" in refusal(path)
    assert "folder" in refusal(tmp_path)


def test_half_an_hour_is_the_most_and_a_part_of_more_is_fine(tmp_path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(str(path), "w", 8000, 1, "PCM_U8") as file:
        for _ in range(31):
            file.write(sine(440, 60.0, rate=8000))
    assert "31.0 minutes" in refusal(path)
    assert read_recording(path, start=1500.0, seconds=2.0).seconds == 2.0


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["wav", "flac", "ogg", "mp3"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_bytes_are_refused(tmp_path, noise: bytes, ending: str) -> None:
    path = tmp_path / f"noise.{ending}"
    path.write_bytes(noise)
    assert refusal(path)


@given(st.data(), st.sampled_from(["wav", "flac", "ogg", "mp3"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path, data, ending: str) -> None:
    path = saved(tmp_path / f"broken.{ending}", 0.3 * np.random.default_rng(0).standard_normal(11025))
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, min(len(body) - 1, 400)))] = data.draw(st.integers(0, 255))
    path.write_bytes(body[: data.draw(st.integers(1, len(body)))])
    try:
        assert np.isfinite(read_recording(path).wave).all()
    except UserError as error:
        assert "\n" not in str(error)


def test_measures_do_not_hang_on_the_blocks() -> None:
    wave = np.random.default_rng(2).standard_normal((4096 * 6, 2)).astype(np.float32) * 0.1 + 0.05
    one, many = Measures(44100, 2), Measures(44100, 2)
    one.add(wave)
    for block in np.split(wave, 3):
        many.add(block)
    np.testing.assert_allclose(one.offset, many.offset)
    np.testing.assert_allclose(one.level, many.level, rtol=1e-6)
    assert one.bandwidth == many.bandwidth and one.peak == many.peak


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the folder ../shared/data/audio is absent")
@pytest.mark.parametrize(
    ("name", "seconds", "channels"),
    [
        ("sorohanro_-_solo-trumpet-06.hq.ogg", 5.333, 2),
        ("Hungarian_Dance_5_string_orchestra.ogg", 45.845, 1),
        ("Kevin_MacLeod_-_Vibe_Ace.ogg", 61.459, 1),
        ("Kevin_MacLeod_-_P_I_Tchaikovsky_Dance_of_the_Sugar_Plum_Fairy.ogg", 119.876, 1),
    ],
)
def test_recordings_of_others_are_read_whole(name: str, seconds: float, channels: int) -> None:
    read = read_recording(RECORDINGS / name)
    assert read.seconds == pytest.approx(seconds, abs=0.01) and read.channels == channels
    assert 0.3 < np.abs(read.wave).max() <= 1.0 and read.bandwidth > 10_000
