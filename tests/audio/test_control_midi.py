"""Controls through MIDI: to the bit on the ticks, edits of others respected, broken files refused."""

from __future__ import annotations

import io

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.midi import from_midi, read_midi, to_midi
from domains.audio.controls.notes import Key, Note, Track
from domains.audio.controls.spans import Span, Spans
from domains.audio.controls.tags import Tags
from domains.audio.controls.ticks import microseconds, on_ticks, tempo_of
from shared.errors import UserError
from tests.audio.control_examples import controls

WHOLE = Controls(
    length=6.0,
    melody=(Note(0, 1, 60), Note(1, 2.5, 64)),
    dynamics=Dynamics(((0.0, -31.0), (6.0, -12.5))),
    grid=BeatGrid.steady(97, "6/8", -0.4),
    chords=(Chord(0, 2, 9, "min7"), Chord(4, 6, 0)),
    key=Key(9, "minor"),
    tags=Tags("jazz", "calm"),
    spans=Spans(melody=(Span(0, 1.2),), chords=()),
)
BAND = (Track("bass", (Note(0, 1, 40), Note(0.5, 2, 43)), 33), Track("kit", (Note(0, 0.1, 36),), 0, True))


def saved(file: mido.MidiFile) -> bytes:
    body = io.BytesIO()
    file.save(file=body)
    return body.getvalue()


@given(controls())
@settings(max_examples=80, deadline=None)
def test_a_midi_file_gives_back_what_lies_on_its_ticks_to_the_bit(asked: Controls) -> None:
    kept = on_ticks(asked)
    assert on_ticks(kept) == kept
    assert from_midi(to_midi(asked)) == (kept, ())
    assert abs(kept.length - asked.length) < 0.02  # half a tick at 30 quarters a minute is 1 ms; tempi move less


def test_tracks_travel_with_controls() -> None:
    kept, band = from_midi(to_midi(WHOLE, BAND))
    assert kept == on_ticks(WHOLE) and [(t.name, t.program, t.drums) for t in band] == [
        ("bass", 33, False),
        ("kit", 0, True),
    ]
    assert from_midi(to_midi(kept, band)) == (kept, band)
    for before, after in zip(BAND, band, strict=True):
        for asked, found in zip(before.notes, after.notes, strict=True):
            assert (asked.pitch, asked.velocity) == (found.pitch, found.velocity)
            assert found.start == pytest.approx(asked.start, abs=1e-3)


def test_what_another_program_reads_is_plain_midi_with_bars_at_bar_lines() -> None:
    file = mido.MidiFile(file=io.BytesIO(to_midi(WHOLE, BAND)))
    kinds = {message.type: message for message in file.tracks[0]}
    assert kinds["time_signature"].numerator == 6 and kinds["key_signature"].key == "Am"
    assert kinds["set_tempo"].tempo == microseconds(97 * 1.5)
    assert [m.text for m in file.tracks[0] if m.type == "marker"] == ["A:min7", "N", "C:maj", "N"]
    assert [track.name for track in file.tracks[1:]] == ["melody", "bass", "kit"]


def test_a_late_first_downbeat_is_a_bar_line_of_the_file() -> None:
    late = Controls(length=9.0, melody=(Note(0.25, 0.5, 60),), grid=BeatGrid.steady(120, "3/4", 2.0))
    file = mido.MidiFile(file=io.BytesIO(to_midi(late)))
    first = next(m for m in file.tracks[1] if m.type == "note_on")
    ticks = sum(m.time for m in file.tracks[1][: list(file.tracks[1]).index(first) + 1])
    assert ticks == 2 * 3 * 960 - round((2.0 - 0.25) * 2 * 960)  # two bars of lead-in, 1.75 s in front of the downbeat
    assert from_midi(to_midi(late))[0] == late


def test_an_edit_of_the_tempo_elsewhere_is_heard() -> None:
    file = mido.MidiFile(file=io.BytesIO(to_midi(WHOLE)))
    file.tracks[0] = mido.MidiTrack(m.copy(tempo=2 * m.tempo) if m.type == "set_tempo" else m for m in file.tracks[0])
    slow = from_midi(saved(file))[0]
    kept = on_ticks(WHOLE)
    assert slow.length == pytest.approx(2 * kept.length) and slow.melody and kept.melody
    assert slow.melody[1].end == pytest.approx(2 * kept.melody[1].end)
    assert slow.dynamics and slow.dynamics.points[-1][0] == pytest.approx(2 * 6.0, abs=1e-2)


def test_a_foreign_file_gives_the_top_line_the_velocities_and_the_grid() -> None:
    file = mido.MidiFile(ticks_per_beat=96)
    conductor, piano, drums = mido.MidiTrack(), mido.MidiTrack(), mido.MidiTrack()
    file.tracks += [conductor, piano, drums]
    conductor += [
        mido.MetaMessage("time_signature", numerator=3, denominator=4),
        mido.MetaMessage("set_tempo", tempo=600_000),
        mido.MetaMessage("marker", text="A"),  # a rehearsal mark is no chord
    ]
    for pitch, velocity in ((72, 127), (74, 64)):
        piano += [mido.Message("note_on", note=n, velocity=velocity) for n in (48, pitch)]
        piano += [mido.Message("note_on", note=n, velocity=0, time=192 if n == 48 else 0) for n in (48, pitch)]
    drums += [
        mido.Message("note_on", channel=9, note=100, velocity=100),
        mido.Message("note_off", channel=9, note=100, time=5),
    ]
    found, tracks = from_midi(saved(file))
    assert found.melody == (Note(0, 1.2, 72, 127), Note(1.2, 2.4, 74, 64)) and found.chords is None
    assert found.grid and found.grid.tempos[0].qpm == 100 and found.grid.metres[0].name == "3/4"
    assert found.dynamics and [round(level, 2) for _, level in found.dynamics.points] == [-12.0, -23.9]
    assert [track.drums for track in tracks] == [False, True] and found.length == pytest.approx(2.4)


@given(st.integers(62_500, 6_000_000))
def test_every_tempo_of_a_file_has_a_number_that_leads_back_to_it(micro: int) -> None:
    assert microseconds(tempo_of(micro)) == micro


@pytest.mark.parametrize("qpm", [60, 90.5, 97, 119.98, 143.256])
def test_a_round_tempo_comes_back_round(qpm: float) -> None:
    assert tempo_of(microseconds(qpm)) == qpm


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_noise_is_refused_in_one_sentence_whatever_it_is(noise: bytes) -> None:
    for body in (noise, b"MThd" + noise, b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk" + noise):
        with pytest.raises(UserError) as caught:
            from_midi(body, "song.mid")
        assert str(caught.value).startswith("song.mid") and "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data) -> None:
    body = bytearray(to_midi(WHOLE, BAND))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(1, len(body)))]
    try:
        assert isinstance(from_midi(bytes(body))[0], Controls)
    except UserError as error:
        assert "\n" not in str(error)


def test_files_that_are_absent_or_without_notes_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_midi(tmp_path / "none.mid")
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000, time=960)]))
    (tmp_path / "mute.mid").write_bytes(saved(file))
    with pytest.raises(UserError, match=r"mute\.mid: holds no notes"):
        read_midi(tmp_path / "mute.mid")


def test_a_changed_metre_keeps_its_bar() -> None:
    asked = Controls(
        length=20.0, grid=BeatGrid((Tempo(0, 120),), (Metre(0, 6, 8), Metre(2, 3, 4), Metre(4, 5, 8)), start=-0.5)
    )
    assert from_midi(to_midi(asked))[0] == asked
