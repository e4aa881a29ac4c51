"""The audio page in a real browser, at a desk and on a phone: draw, type, hum, hear what is asked, run, compare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import soundfile
from playwright.sync_api import expect

from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import from_json
from domains.audio.controls.midi import read_midi, to_midi
from domains.audio.export import read_sidecar
from domains.audio.preview import RATE, sound
from domains.audio.score import run
from shared import checkpoints
from tests.audio import untrained
from tests.browser.conftest import Site, Visit, apps_of, download_the_last, serving, set_number, visiting
from tests.browser.test_pages import CONTRASTS


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The hub with the audio app and an untrained score model."""
    path = untrained.written(tmp_path_factory.mktemp("weights"))
    network = checkpoints.load(path)[0]
    once = pytest.MonkeyPatch()
    once.setattr(run, "WEIGHTS", path)
    once.setattr(run, "from_pretrained", lambda: network)
    with serving(apps_of("audio")) as served:
        yield served
    once.undo()


@pytest.fixture
def tab(browser: Any, audio: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page, loaded; width and colour mode as the test asks for (``indirect``)."""
    with visiting(browser, audio, request, patience=60_000) as seen:
        seen.page.goto(audio.address + "audio/")
        expect(seen.page.locator("#lanes-status")).to_contain_text("Asked: melody, dynamics, rhythm", timeout=90_000)
        expect(seen.page.locator("#option-tags textarea, #option-tags input")).to_have_value("classical, happy")
        yield seen


desk_and_phone = pytest.mark.parametrize("tab", [(1440, "light"), (390, "dark")], indirect=True, ids=["desk", "phone"])


# Five taps of the space bar, half a second apart on the clock of the page.
TAPS = """(canvas) => {
  let now = 0;
  performance.now = () => (now += 500);
  for (let n = 0; n < 5; n += 1) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }));
  delete performance.now;
}"""


# Seven taps on the beats of something that plays: 100 a minute from 0.3 s on, and a hand that is 80 ms late.
ALONG = """(canvas) => {
  let now = 1e7;
  performance.now = () => now;
  for (let n = 0; n < 7; n += 1, now += 600) {
    window.dispatchEvent(new CustomEvent('audio-time', { detail: 0.3 + 0.6 * n + 0.08 }));
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }));
  }
  delete performance.now;
}"""
# The button, then eight taps, each 80 ms after its click.
LATE = """(canvas) => {
  let now = 1e6;
  performance.now = () => now;
  document.querySelector('#lanes [data-do=calibrate]').click();
  for (let n = 0; n < 8; n += 1) {
    now = 1e6 + 600 * (n + 1) + 80;
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }));
  }
  delete performance.now;
}"""


def lane(page: Any, kind: str) -> Any:
    return page.locator(f"#lanes .lane[data-kind={kind}] canvas")


def drag(page: Any, kind: str, *points: tuple[float, float], steps: int = 6) -> None:
    """The mouse through points of a lane, as shares of the time axis and of its height."""
    canvas = lane(page, kind)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    gutter, wide = 38, box["width"] - 39
    places = [(box["x"] + gutter + x * wide, box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()


def asked(page: Any) -> Controls:
    """What the lanes ask for, as their link Save writes it."""
    held = page.locator("#lanes .save").get_attribute("href")
    return from_json(json.loads(unquote(held.partition(",")[2])))


def tool(page: Any, words: str) -> None:
    page.locator("#lanes").get_by_role("button", name=words, exact=True).click()


def said(page: Any) -> Any:
    return page.locator("#lanes .said")


def open_part(page: Any, words: str) -> None:
    page.get_by_role("button", name=words).click()


def one_take(page: Any) -> None:
    """A run of one take and of two steps."""
    set_number(page, "takes", 1)
    open_part(page, "More")
    set_number(page, "steps", 2)
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_be_visible(timeout=180_000)


def notes_of(controls: Controls) -> list[tuple[float, float, int]]:
    return [(note.start, note.end, note.pitch) for note in controls.melody or ()]


def test_notes_curves_and_free_spans_are_drawn_moved_erased_and_taken_back(tab: Visit) -> None:
    page = tab.page
    page.locator("#lanes [aria-label='Clear the melody']").click()
    expect(page.locator("#lanes-status")).to_contain_text("Asked: dynamics, rhythm.")
    drag(page, "melody", (0.01, 0.5), (0.118, 0.5))  # a quarter at 120 beats a minute is half a second of eight
    start, end, pitch = notes_of(asked(page))[0]
    assert (start, end) == (0.0, 1.0)
    drag(page, "melody", (0.05, 0.5), (0.3, 0.2))  # the note, moved
    moved = notes_of(asked(page))
    assert len(moved) == 1 and moved[0][0] == 2.0 and moved[0][1] == 3.0 and moved[0][2] > pitch
    page.keyboard.press("Control+z")
    assert notes_of(asked(page)) == [(start, end, pitch)]
    page.keyboard.press("Control+y")
    assert notes_of(asked(page)) == moved

    drag(page, "dynamics", (0.1, 0.8), (0.4, 0.2), (0.8, 0.7), steps=12)
    curve = asked(page).dynamics
    assert curve is not None
    assert curve.at([0.8, 3.2, 6.4]) == pytest.approx([-49.5, -10.5, -43.0], abs=3)
    drag(page, "dynamics", (0.9, 0.5))  # a click: one break point
    again = asked(page).dynamics
    assert again is not None and len(again.points) == len(curve.points) + 1

    tool(page, "Leave free")
    drag(page, "dynamics", (0.26, 0.5), (0.49, 0.5))
    assert [(span.start, span.end) for span in asked(page).bound("dynamics")] == [(0.0, 2.0), (4.0, 8.0)]
    expect(page.locator("#lanes-status")).to_contain_text("dynamics in part")
    drag(page, "dynamics", (0.3, 0.5), (0.49, 0.5))  # brushed again: asked again, but for the first half second
    assert [(span.start, span.end) for span in asked(page).bound("dynamics")] == [(0.0, 2.0), (2.375, 8.0)]

    tool(page, "Erase")
    drag(page, "melody", (0.3, (83 - moved[0][2] + 0.5) / 24))
    assert asked(page).melody is None
    expect(page.locator("#lanes .lane[data-kind=melody]")).to_contain_text("not asked: the model decides")
    assert tab.errors == []


def test_everything_the_mouse_draws_is_reached_by_keys_and_typed_tables(tab: Visit) -> None:
    page = tab.page
    page.locator("#lanes [aria-label='Clear the melody']").click()
    melody = lane(page, "melody")
    melody.press("Home")
    melody.press("Space")
    melody.press("Shift+ArrowRight")
    melody.press("Control+ArrowUp")
    expect(said(page)).to_have_text("C♯5, bar 1, beat 1: a note")
    assert notes_of(asked(page)) == [(0.0, 0.375, 73)]
    melody.press("f")
    assert [(span.start, span.end) for span in asked(page).bound("melody")] == [(0.5, 8.0)]
    dynamics = lane(page, "dynamics")
    dynamics.press("Home")
    dynamics.press("ArrowUp")
    curve = asked(page).dynamics
    assert curve is not None and curve.points[0] == (0.0, -28.0)
    chords = lane(page, "chords")
    page.locator("#lanes .chord").fill("Dm7")
    page.locator("#lanes .chord").press("Enter")
    expect(said(page)).to_contain_text("Dm7")
    chords.press("Home")
    chords.press("Enter")
    assert [(each.start, each.end, each.label) for each in asked(page).chords or ()] == [(0.0, 2.0, "D:min7")]
    page.locator("#lanes .strip").fill("Am | F | C | H")
    page.locator("#lanes .strip").press("Enter")
    expect(said(page)).to_contain_text("'H' is no chord that is known")
    page.locator("#lanes .strip").fill("Am | F | C | G7")
    page.locator("#lanes .strip").press("Enter")
    expect(said(page)).to_contain_text("4 chords")

    page.locator("#lanes .bpm").fill("60")
    page.locator("#lanes .bpm").press("Enter")
    expect(said(page)).to_contain_text("60 beats a minute")
    assert asked(page).length == 16.0 and notes_of(asked(page)) == [(0.0, 0.75, 73)]
    lane(page, "rhythm").evaluate(TAPS)
    expect(said(page)).to_contain_text("120 beats a minute; notes follow")

    lane(page, "rhythm").evaluate(LATE)
    expect(said(page)).to_contain_text("80 milliseconds after the sound")
    notes = notes_of(asked(page))
    lane(page, "rhythm").evaluate(ALONG)
    expect(said(page)).to_contain_text("Beats as tapped: 100 beats a minute; notes stay")
    grid = asked(page).grid
    assert grid is not None and 0.3 in grid.downbeats(4.0).round(3) and notes_of(asked(page)) == notes

    open_part(page, "Type it")
    expect(page.locator("#table-notes")).to_contain_text("C#5")
    cell = page.locator("#table-notes .body-cell[data-col='2']").first
    cell.dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("A4")
    page.keyboard.press("Enter")
    expect(said(page)).not_to_have_text("")
    page.wait_for_function("document.querySelector('#lanes .save').href.includes('%22pitch%22%3A69')")
    assert tab.errors == []


@pytest.mark.parametrize("tab", [(390, "light")], indirect=True, ids=["phone"])
def test_a_finger_draws_once_a_tool_is_chosen_and_scrolls_before(tab: Visit) -> None:
    page = tab.page
    tool(page, "Draw")
    before = len(asked(page).melody or ())
    touch = """(canvas, [x, y, to]) => {
      const box = canvas.getBoundingClientRect(), wide = box.width - 39;
      const at = (share) => ({ clientX: box.left + 38 + share * wide, clientY: box.top + y * box.height });
      const fire = (name, share) => canvas.dispatchEvent(new PointerEvent(name,
        { pointerId: 1, pointerType: 'touch', bubbles: true, cancelable: true, button: 0, ...at(share) }));
      canvas.setPointerCapture = () => {};
      fire('pointerdown', x); fire('pointermove', to); fire('pointerup', to);
    }"""
    lane(page, "melody").evaluate(touch, [0.51, 0.1, 0.61])
    drawn = notes_of(asked(page))
    assert (4.0, 5.0, 81) in drawn and len(drawn) < before + 1
    assert lane(page, "melody").evaluate("c => getComputedStyle(c).touchAction") == "none"
    tool(page, "Only look")
    assert lane(page, "melody").evaluate("c => getComputedStyle(c).touchAction") == "pan-y"
    page.locator("#lanes [aria-label='Zoom in']").click()
    expect(page.locator("#lanes .part")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert tab.errors == []


def heard_by_the_browser(page: Any, selector: str) -> float:
    """Seconds of a sound that the browser could read."""
    page.wait_for_function(f"document.querySelector('{selector}')?.readyState >= 1")
    return float(page.locator(selector).first.evaluate("a => a.duration"))


@desk_and_phone
def test_two_clicks_lead_to_music_that_is_heard_scored_compared_and_kept(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    page.locator("#hear").click()
    assert heard_by_the_browser(page, "#heard audio") == pytest.approx(8.0, abs=0.01)
    set_number(page, "takes", 2)
    open_part(page, "More")
    set_number(page, "steps", 2)
    page.locator("#run").click()
    expect(page.locator("#status .status-done, #status .status-error")).to_be_visible(timeout=180_000)
    expect(page.locator("#status .status-done")).to_contain_text("2 takes of 4 bars, 8.00 s")
    expect(page.locator("#takes li")).to_have_count(2)
    assert heard_by_the_browser(page, "#takes audio") >= 8.0
    expect(page.locator("#takes h4").nth(1)).to_have_text("Take 2, seed 1")
    expect(page.locator("#takes .line").first).to_contain_text(re.compile(r"melody \d+%"))
    expect(page.locator("#table tbody tr").first).to_contain_text("melody")
    expect(page.locator("#licence")).to_contain_text("The music is yours")
    volumes = page.locator("#takes audio").evaluate_all("all => all.map(a => a.volume)")
    assert max(volumes) == 1 and 0 < min(volumes)
    page.locator("#takes .looping").check()
    page.locator("#takes audio").first.evaluate("a => a.play()")
    expect(page.locator("#lanes .head")).to_be_visible()  # the play-head follows
    page.locator("#takes .swap").click()
    page.wait_for_function("document.querySelectorAll('#takes audio')[1].currentTime > 0")
    assert page.locator("#takes audio").evaluate_all("all => all.map(a => a.loop)") == [True, True]
    assert page.locator("#takes audio").first.evaluate("a => a.paused")
    page.locator("#takes audio").nth(1).evaluate("a => a.pause()")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    download_the_last(page)
    for section in ("Explain", "Export", "From a recording", "Type it", "Open a project"):
        page.get_by_role("button", name=section).click()
    expect(page.locator("#command")).to_contain_text(re.compile("suite audio generate .*--controls controls.json"))
    assert page.evaluate(CONTRASTS) == []
    assert tab.foreign == [] and tab.errors == []


def download(page: Any, name: str, folder: Path) -> Path:
    stem, _, ending = name.rpartition(".")
    row = page.locator("#files tr").filter(has_text=re.compile(re.escape(stem) + r"\s*\." + ending)).first
    with page.expect_download() as begun:
        row.locator("a").first.click()
    begun.value.save_as(folder / name)
    return folder / name


def test_a_project_comes_back_and_a_take_gives_its_melody_or_a_neighbour(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    page.locator("#example").get_by_text("jazz", exact=True).click()
    expect(page.locator("#lanes-status")).to_contain_text("Asked: melody, rhythm, chords; melody in part")
    one_take(page)
    sidecar = read_sidecar(download(page, "take_1.wav", tmp_path))
    project = json.loads(download(page, "asked.json", tmp_path).read_text())
    assert sidecar is not None and sidecar["synthetic"] and sidecar["settings"]["takes"] == 1
    assert from_json(project) == EXAMPLES["jazz"]()
    page.get_by_role("button", name="Use as melody").click()
    expect(said(page)).to_contain_text("of the take are the melody now")
    assert asked(page).melody != EXAMPLES["jazz"]().melody
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#nearness")).to_contain_text("stays near to take 1")
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_be_visible(timeout=180_000)
    expect(page.locator("#nearness")).not_to_contain_text("take 1")

    page.reload()
    expect(page.locator("#option-takes input[type=number]")).to_have_value("4")
    expect(page.locator("#lanes-status")).to_contain_text("Asked: melody, dynamics, rhythm")
    open_part(page, "Open a project")
    page.locator("#project input[type=file]").set_input_files(tmp_path / "asked.json")
    expect(page.locator("#project-status")).to_contain_text("Lanes and settings are those of the project")
    expect(page.locator("#option-takes input[type=number]")).to_have_value("1")
    expect(page.locator("#lanes-status")).to_contain_text("melody in part")
    assert asked(page).melody == EXAMPLES["jazz"]().melody
    (tmp_path / "broken.json").write_text('{"controls": {"format": "audio-controls", "version": 1}}')
    page.locator("#project").get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    page.locator("#project input[type=file]").set_input_files(tmp_path / "broken.json")
    expect(page.locator("#project-status [role=alert]")).to_contain_text("broken.json, controls: there is no length")
    assert tab.foreign == [] and tab.errors == []


def test_bars_of_a_take_are_written_anew_and_it_goes_on(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    open_part(page, "Change a take")
    page.locator("#change").click()
    expect(page.locator("#change-status [role=alert]")).to_contain_text("there is no take yet")
    one_take(page)
    before = read_midi(download(page, "take_1.mid", tmp_path))[1]
    page.locator("#from-bar input").fill("3")
    page.locator("#to-bar input").fill("2")
    page.locator("#change").click()
    expect(page.locator("#change-status [role=alert]")).to_contain_text("bar 2 lies before bar 3")
    page.locator("#to-bar input").fill("3")
    page.locator("#change").click()
    expect(page.locator("#change-status .status-done")).to_contain_text("1 take of 4 bars", timeout=120_000)
    open_part(page, "Export")
    expect(page.locator("#command")).to_contain_text("suite audio inpaint")
    after = read_midi(download(page, "take_1.mid", tmp_path))[1]
    outside = [[n for t in tracks for n in t.notes if n.start < 3.99 or n.start > 5.99] for tracks in (before, after)]
    assert sorted(outside[0]) == sorted(outside[1]) and outside[0]
    page.locator("#change-what").get_by_text("Go on after the end").click()
    page.locator("#more-bars input").fill("1")
    page.locator("#change").click()
    expect(page.locator("#change-status .status-done")).to_contain_text("1 take of 5 bars", timeout=120_000)
    assert tab.foreign == [] and tab.errors == []


def test_a_recording_and_a_midi_file_fill_the_lanes(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    hummed = Controls(length=4.0, melody=(EXAMPLES["jazz"]().melody or ())[:5])
    soundfile.write(tmp_path / "hum.wav", sound(hummed), RATE)
    open_part(page, "From a recording")
    page.locator("#read").click()
    expect(page.locator("#read-status [role=alert]")).to_contain_text("there is no recording")
    page.locator("#recording input[type=file]").set_input_files(tmp_path / "hum.wav")
    expect(page.locator("#recording audio, #recording .waveform-container").first).to_be_attached()
    page.locator("#read").click()
    expect(page.locator("#read-status .status-done")).to_contain_text("4.00 s", timeout=120_000)
    found = [pitch for _, _, pitch in notes_of(asked(page))]
    assert found == [note.pitch for note in hummed.melody or ()]
    (tmp_path / "waltz.mid").write_bytes(to_midi(EXAMPLES["waltz"]()))
    page.locator("#midi input[type=file]").set_input_files(tmp_path / "waltz.mid")
    expect(page.locator("#read-status .status-done")).to_contain_text("in 3/4")
    expect(page.locator("#option-key input")).to_have_value("A minor")
    assert [each.label for each in asked(page).chords or ()] == [
        each.label for each in EXAMPLES["waltz"]().chords or ()
    ]
    assert tab.foreign == [] and tab.errors == []
