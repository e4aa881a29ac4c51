"""The synthesiser is exact in time, level and pitch, and free of clicks, clipping and aliasing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from domains.audio.compose.composer import compose
from domains.audio.compose.genres import GENRES_TABLE, HELD_PROGRAMS
from domains.audio.compose.performance import parts_of
from domains.audio.compose.performance import render as recorded
from domains.audio.synth import render
from domains.audio.synth.drums import KIT, stroke
from domains.audio.synth.noise import noise
from domains.audio.synth.partials import additive, bessel, edges, limit
from domains.audio.synth.programs import voice_of
from domains.audio.synth.render import CEILING, RATES, REFERENCE, Part, folded, play
from domains.audio.synth.room import response, reverberate
from domains.audio.synth.voices import spectrum
from shared.errors import UserError

USED = sorted(
    HELD_PROGRAMS | {p for genre in GENRES_TABLE.values() for p in (*genre.melody, *genre.chords, *genre.bass)}
)


def part(*notes: tuple[float, float, int, int], **options: object) -> Part:
    """A part of (start, end, pitch, velocity)."""
    start, end, pitch, velocity = (np.array(column) for column in zip(*notes, strict=True))
    return Part(start, end, pitch, velocity, **options)


def sound(program: int, pitch: int = 60, velocity: int = 100, seconds: float = 1.0, rate: int = 22_050) -> NDArray:
    """One note, dry, in the middle: (n,)."""
    return play([part((0.0, seconds, pitch, velocity), program=program)], seconds, rate, room=0).mix[0] * 2**0.5


def level(wave: NDArray) -> float:
    """dB of its mean square."""
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


# ------------------------------------------------------------------------------------------------------------- in time


@pytest.mark.parametrize("rate", RATES)
def test_every_note_begins_at_its_own_sample(rate: int) -> None:
    starts = (0.0, 0.123456, 1.000017, 1.7)
    for options in ({"program": 0}, {"program": 40}, {"program": 89}, {"drums": True}):
        for start in starts:
            player = part((start, start + 0.4, 60 if "program" in options else 38, 90), **options)
            mix = play([player], 2.2, rate, room=0).mix
            assert np.flatnonzero(mix[0])[0] == round(start * rate)


def test_a_note_is_over_when_its_release_is_over() -> None:
    for program in (16, 48, 0):
        wave = sound(program, seconds=0.5)
        last = np.flatnonzero(wave)[-1] / 22_050
        assert 0.5 < last <= 0.5 + voice_of(program).release


def test_the_mix_of_a_score_is_as_long_as_its_bars_and_a_tail() -> None:
    score = compose(0, 0, bars=4)
    result = recorded(score, 22_050)
    assert result.body == round(score.seconds_in_all * 22_050) < result.mix.shape[1]
    assert np.abs(result.mix[:, -10:]).max() < 1e-3 * np.abs(result.mix).max()


# ------------------------------------------------------------------------------------------------------- stems and mix


def test_the_stems_add_up_to_the_mix_with_and_without_a_room() -> None:
    score = compose(0, 3, genre="pop", mood="energetic", bars=2)
    for room in (0.0, 0.4):
        whole = play(parts_of(score), score.seconds_in_all, 22_050, room=room)
        assert whole.stems is not None and len(whole.stems) == 4
        assert np.abs(whole.stems.sum(0) - whole.mix).max() < 1e-6
        alone = play(parts_of(score), score.seconds_in_all, 22_050, room=room, stems=False)
        assert alone.stems is None and np.abs(alone.mix - whole.mix).max() < 1e-5


def test_a_part_keeps_to_its_side() -> None:
    left = play([part((0.0, 0.5, 60, 90), pan=-1.0)], 0.5, 22_050, room=0).mix
    assert np.abs(left[1]).max() < 1e-6 * np.abs(left[0]).max()
    middle = play([part((0.0, 0.5, 60, 90))], 0.5, 22_050, room=0).mix
    assert np.allclose(middle[0], middle[1], atol=1e-7)
    assert level(middle[0]) == pytest.approx(level(left[0]) - 3.01, abs=0.01)


def test_loud_music_is_lowered_as_a_whole_and_never_clipped() -> None:
    crowd = [part(*[(0.0, 1.0, pitch, 127) for pitch in range(48, 78)], program=30, pan=pan) for pan in (-0.5, 0.5)]
    result = play(crowd, 1.0, 22_050)
    assert result.lowered < -1 and np.abs(result.mix).max() <= CEILING + 1e-6
    assert result.stems is not None and np.abs(result.stems.sum(0) - result.mix).max() < 1e-6


def test_a_loop_sounds_as_the_second_time_round() -> None:
    notes = [(0.0, 0.4, 60, 90), (0.5, 1.0, 64, 90), (0.75, 0.99, 67, 100)]
    loop = folded(play([part(*notes, program=11)], 1.0, 22_050, room=0.1))
    twice = [(start + again, end + again, *rest) for again in (0.0, 1.0, 2.0) for start, end, *rest in notes]
    long = play([part(*twice, program=11)], 3.0, 22_050, room=0.1).mix
    assert loop.shape == (2, 22_050)
    assert np.abs(loop - long[:, 2 * 22_050 : 3 * 22_050]).max() < 1e-5


# ------------------------------------------------------------------------------------------------------ level, timbre


@pytest.mark.parametrize("program", USED)
def test_level_follows_velocity_by_the_square_whatever_the_instrument(program: int) -> None:
    def loudest(velocity: int) -> float:
        wave = sound(program, 57, velocity, 0.8, 44_100).astype(np.float64)
        window = 2205
        return float(10 * np.log10(np.convolve(wave**2, np.ones(window) / window, "valid").max()))

    full, half = loudest(127), loudest(64)
    beating = 10 * np.log10(len(voice_of(program).unison))  # detuned copies meet now and then
    assert -2.5 < full - 20 * np.log10(REFERENCE) < 2.5 + beating
    assert full - half == pytest.approx(-40 * np.log10(64 / 127), abs=1.5 + beating / 2)


def test_harder_notes_are_brighter() -> None:
    def centre(program: int, velocity: int) -> float:
        power = np.abs(np.fft.rfft(sound(program, 52, velocity))) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    for program in (0, 24, 40, 61, 4):
        assert centre(program, 120) > 1.15 * centre(program, 30), program


def test_the_level_does_not_hang_on_the_sample_rate() -> None:
    score = compose(0, 4, genre="funk", bars=2)
    levels = [level(recorded(score, rate, stems=False).mix) for rate in RATES]
    assert max(levels) - min(levels) < 0.7


# -------------------------------------------------------------------------------------------------------------- pitch


@pytest.mark.parametrize("program", [p for p in USED if not voice_of(p).ratios and not voice_of(p).fm])
def test_partials_of_a_note_are_multiples_of_its_pitch(program: int) -> None:
    wave = sound(program, 69, 100, 1.0)[:22_050] * np.hanning(22_050)
    power = np.abs(np.fft.rfft(wave)) ** 2  # bins of 1 Hz
    near = sum(power[440 * k - 25 : 440 * k + 26].sum() for k in range(1, 20))
    assert near > 0.95 * power.sum()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("pitch", [84, 97, 108])
def test_nothing_aliases_above_minus_sixty_decibels(rate: int, pitch: int) -> None:
    """Energy away from the partials that a note is made of, for every voice: high notes, full velocity."""
    for program in USED:
        voice = voice_of(program)
        if voice.noise[0]:
            continue
        wave = sound(program, pitch, 127, 0.5, rate)[: rate // 2].astype(np.float64)
        power = np.abs(np.fft.rfft(wave * np.blackman(len(wave)))) ** 2
        made = spectrum(voice, pitch, 15.5 / 16, edges(rate, len(wave)))
        frequency = np.fft.rfftfreq(len(wave), 1 / rate)
        away = np.ones(len(frequency), bool)
        fall = -np.log(np.abs(made.levels[1] / made.levels[0]).clip(1e-9)) / edges(rate, len(wave))[1]
        for place, nepers in zip(made.frequency, fall.clip(0), strict=True):
            away &= np.abs(frequency - place) > 150 + 5 * nepers  # a partial that dies quickly is as wide
        if made.frequency.min() < limit(rate):
            assert power[away].sum() < 1e-6 * power.sum(), (program, pitch)


def test_no_note_ends_with_a_click() -> None:
    """Where a note is let go, its fastest changes are those of the same note that goes on."""
    for program in USED:
        short, long = (np.diff(sound(program, 50, 110, s, 44_100).astype(np.float64), 4) for s in (0.31803, 0.9))
        off = round(0.31803 * 44_100)
        after = short[off - 5 :]
        assert np.abs(after).max() <= 1.02 * np.abs(long[off - 5 : off + len(after)]).max() + 1e-6, program


# -------------------------------------------------------------------------------------------------- parts of the engine


def test_the_matrix_product_is_the_sum_of_sines() -> None:
    rate, samples = 22_050, 3000
    frequency, phase = np.array([220.0, 1234.5, 9000.0, 12_000.0]), np.array([0.1, 0.0, 0.7, 0.2])
    times = edges(rate, samples)
    levels = np.stack([np.exp(-3 * times), 0.5 + times, 0.2 * np.ones_like(times), np.ones_like(times)], 1)
    n = np.arange(samples)
    wanted = sum(
        np.interp(n / rate, times, levels[:, k]) * np.sin(2 * np.pi * (frequency[k] * n / rate + phase[k]))
        for k in range(3)  # 12 kHz does not fit
    )
    assert np.abs(additive(frequency, phase, levels, rate, samples) - wanted).max() < 2e-5


def test_bessel_functions_meet_known_values() -> None:
    table = bessel(3, np.array([0.0, 1.0, 2.5]))
    assert table[:, 0] == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert table[:, 1] == pytest.approx([0.7651976866, 0.4400505857, 0.1149034849, 0.0195633540])
    assert table[:, 2] == pytest.approx([-0.0483837765, 0.4970941025, 0.4460590584, 0.2166003910])


def test_frequency_modulation_is_what_chowning_wrote() -> None:
    """The partials against sin(2 pi f t + I sin(2 pi r f t)) itself, up to phase: equal amplitudes."""
    voice = replace(voice_of(4), fm=(1.0, 1.5, 1.0, 1.5), decay=0.0)
    made = spectrum(voice, 57, 1.0, np.array([0.0]))
    t = np.arange(44_100) / 44_100
    power = np.abs(np.fft.rfft(np.sin(2 * np.pi * 220 * t + 1.5 * np.sin(2 * np.pi * 220 * t)))) / 22_050
    measured = power[np.rint(made.frequency).astype(int)]
    ours = np.abs(made.levels[0])
    assert ours / ours.max() == pytest.approx(measured / measured.max(), abs=2e-3)


def test_the_room_answers_later_and_dies() -> None:
    answer = response(0.3, 22_050)
    gain = np.abs(np.fft.rfft(answer))[:, np.fft.rfftfreq(answer.shape[1], 1 / 22_050).searchsorted([500, 2500])[0] :]
    assert (gain[:, : 2000 * answer.shape[1] // 22_050] ** 2).mean() == pytest.approx(1, rel=0.15)
    assert not np.array_equal(answer[0], answer[1])
    click = np.zeros(22_050, np.float32)
    click[100] = 1
    wet = reverberate(click, 0.3, 22_050)
    assert np.abs(wet[:, :350]).max() < 1e-6 < 0.01 < np.abs(wet[:, 350:2000]).max()
    assert level(wet[:, 18_000:]) < level(wet[:, 400:4400]) - 35


def test_noise_of_a_drum_is_the_same_at_every_rate() -> None:
    low, high = noise(500, 3000, 1, 22_050), noise(500, 3000, 1, 44_100)
    assert np.abs(high[::2] - low).max() < 1e-9
    for key in KIT:
        waves = [stroke(key, 6, 8, rate) for rate in (22_050, 44_100)]
        assert all(np.isfinite(wave).all() and np.abs(wave).max() > 0.5 for wave in waves)


def test_every_program_and_every_key_sounds() -> None:
    for program in range(128):
        assert level(sound(program, 64, 90, 0.3)) > -60, program
    for key in range(128):
        assert np.abs(stroke(key, 5, 8, 22_050)).max() > 0.5


def test_the_same_notes_sound_the_same_to_the_bit_whatever_was_played_before() -> None:
    score = compose(0, 9, bars=2)
    first = recorded(score, 22_050).mix
    render._tone.cache_clear()
    recorded(compose(1, 2, bars=2), 22_050)
    assert np.array_equal(recorded(score, 22_050).mix, first)


def test_a_tone_is_computed_once_however_often_it_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    own = render.additive

    def counted(*arguments: object) -> NDArray:
        calls.append(1)
        return own(*arguments)

    monkeypatch.setattr(render, "additive", counted)
    render._tone.cache_clear()
    play([part(*[(k * 0.1, k * 0.1 + 0.05, 60 + k % 3, 80) for k in range(30)])], 3.0, 22_050)
    assert len(calls) == 3


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("notes", "options", "said"),
    [
        ((0.0, 1.0, 60, 90), {"rate": 11_025}, "11025"),
        ((0.0, 1.0, 60, 90), {"room": 1.5}, "1.5"),
        ((0.5, 0.5, 60, 90), {}, "note 0"),
        ((0.0, 1.0, 60, 0), {}, "velocity 0"),
        ((0.0, 1.0, 128, 90), {}, "pitch 128"),
        ((0.0, float("nan"), 60, 90), {}, "nan"),
    ],
)
def test_what_cannot_be_played_is_refused(notes: tuple, options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        play([part(notes)], 1.0, **{"rate": 22_050, **options})
