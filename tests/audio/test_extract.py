"""The extractors on sounds whose notes, beats, levels and chords are known."""

from __future__ import annotations

import numpy as np
import pytest

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE, count, rasterise
from domains.audio.controls.notes import Key, Note
from domains.audio.data import read_recording
from domains.audio.evaluate import beat_f1, melody_accuracy
from domains.audio.extract import spectra
from domains.audio.extract.agreement import chord_accuracy, key_score, note_f1, tempo_is
from domains.audio.extract.extract import Extracted, curves, extract
from domains.audio.extract.harmony import HOP, _template, chords_of
from shared.errors import UserError
from tests.audio.sounds import band, clicks, sine, song
from tests.conftest import SHARED_DATA

RECORDINGS = SHARED_DATA / "audio"
SONG = song(1, bpm=92, bars=6, tonic=2)


@pytest.fixture(scope="module")
def played() -> Extracted:
    return extract(band(SONG, seed=1))


# ------------------------------------------------------------------------------------------------------------ frames


def test_parts_are_the_frames_of_a_centred_spectrogram_to_the_last(monkeypatch) -> None:
    import librosa

    wave = np.random.default_rng(0).standard_normal(256 * 50 + 77).astype(np.float32)
    whole = np.abs(librosa.stft(wave, n_fft=2048, hop_length=256, pad_mode="constant"))[:, : count(len(wave))] ** 2
    monkeypatch.setattr(spectra, "PART", 7)
    found = list(spectra.parts(wave))
    power = np.concatenate([part.power for part in found], axis=1)
    assert power.shape == (1025, 51) and [part.first for part in found] == list(range(0, 51, 7))
    np.testing.assert_allclose(power, whole, rtol=1e-3, atol=1e-3 * float(whole.max()) * 1e-3)
    monkeypatch.setattr(spectra, "PART", 4096)
    above = np.concatenate([part.above for part in found], axis=1)
    np.testing.assert_allclose(above, next(iter(spectra.parts(wave))).above, rtol=1e-2, atol=1e-3)


def test_the_high_pass_is_torchaudios_biquad() -> None:
    from scipy.signal import freqz

    b, a = spectra.high_pass()
    _, response = freqz(b, a, worN=[0.0, 261.2, 4000.0], fs=RATE)
    np.testing.assert_allclose(np.abs(response), [0.0, 0.707, 1.0], atol=1e-3)


# ------------------------------------------------------------------------------------------------------------ melody


@pytest.mark.parametrize("pitch", range(60, 96))
def test_a_sine_from_middle_c_up_is_its_pitch_class_in_every_frame(pitch: int) -> None:
    melody, _ = curves(sine(440 * 2 ** ((pitch - 69) / 12), 0.6))
    assert (melody.argmax(axis=1) == pitch % 12).all() and melody.any(axis=1).all()


def test_silence_has_no_melody() -> None:
    melody, levels = curves(np.concatenate([sine(440, 0.5), np.zeros(RATE, dtype=np.float32)]))
    assert melody[:40].any(axis=1).all() and not melody[50:].any()
    assert levels[-1] == -80.0


@pytest.mark.parametrize(("voice", "least"), [("mix", 0.98), ("solo", 0.96)])
def test_a_tune_alone_gives_its_notes(voice: str, least: float) -> None:
    tune = Controls(length=SONG.length, melody=SONG.melody)
    found = extract(band(tune), kinds=("melody",), voice=voice).controls
    assert note_f1(tune.melody or (), found.melody or ()) > 0.95
    asked, heard = rasterise(tune).melody, rasterise(found).melody
    assert (melody_accuracy(asked, heard) or 0) > least  # windows of 93 ms blur the borders of notes


def test_a_steady_tone_is_one_note_and_a_repeated_one_is_two() -> None:
    found = extract(sine(523.25, 2.0), kinds=("melody",), voice="solo").controls.melody
    assert found is not None and [(note.pitch, note.start, note.end) for note in found] == [(72, 0.0, 2.0)]
    twice = Controls(length=2.0, melody=(Note(0.0, 1.0, 72), Note(1.0, 2.0, 72)))
    found = extract(band(twice), kinds=("melody",), voice="solo").controls.melody
    assert found is not None and [note.pitch for note in found] == [72, 72]
    assert found[1].start == pytest.approx(1.0, abs=0.03)


def test_below_middle_c_a_solo_keeps_its_octave() -> None:
    low = Controls(length=2.0, melody=(Note(0.0, 1.0, 48), Note(1.0, 2.0, 55)))
    found = extract(band(low), kinds=("melody",), voice="solo").controls.melody
    assert found is not None and [note.pitch for note in found] == [48, 55]


# ---------------------------------------------------------------------------------------------------------- dynamics


def test_a_full_scale_sine_has_minus_three_decibels_and_gain_moves_the_curve_exactly() -> None:
    wave = sine(440, 3.0, 1.0)
    levels = curves(wave)[1]
    assert levels[130] == pytest.approx(-3.01, abs=0.01)
    for gain in (0.5, 0.1):
        moved = curves(gain * wave)[1]
        np.testing.assert_allclose(moved - levels, 20 * np.log10(gain), atol=1e-3)


def test_dynamics_follow_a_swell_and_the_curve_stays_near_the_frames() -> None:
    t = np.arange(6 * RATE) / RATE
    asked = -30 + 12 * np.sin(2 * np.pi * t / 6)
    wave = (sine(440, 6.0, 1.0) * 10 ** ((asked + 3.01) / 20)).astype(np.float32)
    found = extract(wave, kinds=("dynamics",))
    inner = slice(90, -90)
    frames = np.arange(len(found.levels)) * 256 / RATE
    second = 12 * np.sinc(1 / 6)  # what a line fitted over one second leaves of a swing of six
    assert np.abs(found.levels - (-30 + second * np.sin(2 * np.pi * frames / 6)))[inner].max() < 0.1
    assert found.controls.dynamics is not None
    assert np.abs(found.controls.dynamics.at(frames) - found.levels).max() < 0.11


# ------------------------------------------------------------------------------------------------------------ rhythm


@pytest.mark.parametrize("bpm", [76, 97, 128])
def test_clicks_give_their_tempo_and_every_beat(bpm: int) -> None:
    times = np.arange(0.5, 10.0, 60 / bpm)
    found = extract(clicks(times, 10.0), kinds=("rhythm",)).rhythm
    assert found is not None and found.steady and tempo_is(bpm, found.bpm)
    assert beat_f1(times, found.beats) == 1.0
    assert all(30 < tempo < 250 for tempo, _ in found.others)


@pytest.mark.parametrize(("metre", "beats"), [("3/4", 3), ("4/4", 4)])
@pytest.mark.parametrize("phase", [0, 2])
def test_loud_clicks_are_the_downbeats_and_tell_the_metre(metre: str, beats: int, phase: int) -> None:
    times = np.arange(0.4, 14.0, 0.5)
    loud = [0.9 if n % beats == phase else 0.15 for n in range(len(times))]
    found = extract(clicks(times, 14.0, loud), kinds=("rhythm",)).rhythm
    assert found is not None and found.grid.metres[0].name == metre
    assert beat_f1(times[phase::beats], found.downbeats) == 1.0
    assert (beat_f1(times[phase::beats], found.grid.downbeats(14.0)) or 0) > 0.9


def test_a_tempo_that_is_given_is_kept_to_the_digit() -> None:
    times = np.arange(0.3, 8.0, 60 / 90)
    found = extract(clicks(times, 8.0), kinds=("rhythm",), bpm=90.0, metre="3/4").controls.grid
    assert found is not None and found.tempos[0].qpm == 90.0 and found.metres[0].name == "3/4"
    assert (beat_f1(times, found.beats(8.0)) or 0) > 0.95


def test_a_tempo_that_wanders_is_followed_from_beat_to_beat() -> None:
    times = 0.5 + np.cumsum(0.5 + 0.06 * np.sin(np.arange(22) / 4))
    found = extract(clicks(times, 12.5), kinds=("rhythm",)).rhythm
    assert found is not None and not found.steady and len(found.grid.tempos) > 5
    assert (beat_f1(times, found.beats) or 0) > 0.9


def test_without_a_beat_there_is_no_grid_and_it_is_said() -> None:
    found = extract(sine(440, 3.0), kinds=("rhythm",))
    assert found.controls.grid is None and "give the tempo" in found.facts["rhythm"]["said"]


# ----------------------------------------------------------------------------------------------------------- harmony


def test_chords_and_key_of_a_cadence_are_found() -> None:
    chords = tuple(
        Chord(2.0 * n, 2.0 * n + 2, root, quality)
        for n, (root, quality) in enumerate([(2, "maj"), (11, "min"), (7, "maj"), (9, "7"), (2, "maj")])
    )
    asked = Controls(length=10.0, chords=chords, grid=BeatGrid.steady(120))
    found = extract(band(asked), kinds=("chords", "rhythm")).controls
    assert found.chords is not None and chord_accuracy(chords, found.chords, 10.0) > 0.9
    assert found.key == Key(2, "major")


def test_of_tones_too_few_for_a_chord_or_a_key_nothing_is_claimed() -> None:
    tune = np.concatenate([sine(pitch, 1.0) for pitch in (440.0, 494.0, 440.0, 330.0)])
    for wave in (sine(440, 4.0), sine(452, 4.0), tune):  # in tune, between two keys of a piano, and three tones in turn
        found = extract(wave, kinds=("chords",))
        assert found.controls.key is None and not found.controls.chords
        assert "no key can be told" in found.facts["key"]["said"] and "no chords" in found.facts["chords"]["said"]
    triad = sum(sine(pitch, 4.0, 0.2) for pitch in (220.0, 277.18, 329.63))
    heard = extract(np.asarray(triad, np.float32), kinds=("chords",)).controls
    assert heard.key is None and [(c.root, c.quality) for c in heard.chords or ()] == [(9, "maj")]


def test_a_beat_of_one_tone_leaves_the_chord_that_was_there() -> None:
    held = np.stack([_template(0, "maj"), _template(7, "maj")], 1).repeat(40, 1)  # C and G, with a lone A between
    lone = np.zeros((12, 20))
    lone[9] = 1.0
    chroma = np.concatenate([held[:, :40], lone, held[:, :40], held[:, 40:]], 1).astype(np.float32)
    chords = chords_of(chroma, np.arange(0, 141, 20) * HOP / RATE, 140 * HOP / RATE)
    assert [(chord.root, chord.quality) for chord in chords] == [(0, "maj"), (7, "maj")]


def test_a_whole_band_is_heard(played: Extracted) -> None:
    found = played.controls
    assert played.rhythm is not None and tempo_is(92, played.rhythm.bpm) and found.grid is not None
    assert (beat_f1(SONG.grid.beats(SONG.length), found.grid.beats(SONG.length)) or 0) > 0.95 if SONG.grid else False
    assert (melody_accuracy(rasterise(SONG).melody, played.melody) or 0) > 0.9
    assert note_f1(SONG.melody or (), found.melody or ()) > 0.8
    assert chord_accuracy(SONG.chords or (), found.chords or (), SONG.length) > 0.8
    assert found.key is not None and key_score(Key(2), found.key) == 1.0


def test_only_what_is_wanted_is_extracted_and_stages_are_told() -> None:
    told: list[str] = []
    found = extract(band(song(0, bars=2)), kinds=("dynamics",), tell=told.append).controls
    assert found.melody is None and found.grid is None and found.chords is None and found.dynamics is not None
    assert told[0] == "spectrum" and "beats" not in told
    with pytest.raises(UserError, match="no control"):
        extract(sine(440, 1.0), kinds=("timbre",))


def test_a_clip_shorter_than_a_window_is_read() -> None:
    found = extract(sine(440, 0.1), voice="solo")
    assert len(found.levels) == count(2205) and found.controls.length == pytest.approx(0.1)


def test_parts_of_a_minute_join_without_a_seam(monkeypatch) -> None:
    from domains.audio.extract import harmony

    wave = band(song(3, bars=3))
    whole = harmony.chroma(wave)
    monkeypatch.setattr(harmony, "PART", 2 * RATE // 512 * 512)
    parts = harmony.chroma(wave)
    assert parts.shape == whole.shape
    assert np.corrcoef(parts.ravel(), whole.ravel())[0, 1] > 0.999


# -------------------------------------------------------------------------------------------------------- recordings


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the folder ../shared/data/audio is absent")
def test_a_trumpet_loop_of_ninety_beats_is_in_its_range_and_ninety_is_offered() -> None:
    recording = read_recording(RECORDINGS / "sorohanro_-_solo-trumpet-06.hq.ogg")
    found = extract(recording.wave, voice="solo")
    assert found.rhythm is not None
    offered = [found.rhythm.bpm, *(tempo for tempo, _ in found.rhythm.others)]
    assert any(tempo_is(90, tempo, octaves=True) for tempo in offered), offered
    pitches = [note.pitch for note in found.controls.melody or ()]
    assert len(pitches) > 8 and 53 <= min(pitches) and max(pitches) <= 86  # a trumpet
    known = extract(recording.wave, kinds=("rhythm",), bpm=90.0).controls.grid
    assert known is not None and (known.tempos[0].qpm == 90.0 or len(known.tempos) > 1)
