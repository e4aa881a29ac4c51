"""The pages in a real browser: two clicks to a result, progress, Stop, keyboard, width, contrast, no foreign host."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from shared.front import panel
from tests.browser.conftest import Site, Visit
from tests.front import sample_app

EVERY_LOOK = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
looks = pytest.mark.parametrize("visit", EVERY_LOOK, indirect=True, ids=lambda look: f"{look[0]}-{look[1]}")


def set_value(page: Any, option: str, value: str) -> None:
    box = page.locator(f"#option-{option} input").first
    box.fill(value)
    box.press("Tab")


def open_more(page: Any) -> None:
    page.get_by_role("button", name="More").click()


@looks
def test_two_clicks_lead_to_a_result_at_every_width_and_colour_mode(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.address)
    page.get_by_role("link", name="Random walk").click()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status .status-done")).to_contain_text("40 steps")
    expect(page.get_by_label("Last point")).not_to_have_value("")
    expect(page.locator("#files")).to_contain_text(re.compile(r"walk\s*\.json"))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert visit.foreign == [] and visit.errors == []


@looks
def test_the_landing_page_fits_and_has_readable_text(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.address)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(CONTRASTS) == []
    assert visit.foreign == [] and visit.errors == []


@looks
def test_an_apps_page_has_readable_text(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.page)
    open_more(page)
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status .status-done")).to_be_visible()
    assert page.evaluate(CONTRASTS) == []


def test_progress_is_shown_and_stop_freezes_the_counter(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.page)
    open_more(page)
    set_value(page, "steps", "5000")
    set_value(page, "pause", "0.02")
    sample_app.TAKEN.clear()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status progress")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("of 5000")
    expect(page.locator("#status")).to_contain_text("left")
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_enabled()
    stop.click()
    expect(page.locator("#status .status-stopped")).to_be_visible()
    taken = len(sample_app.TAKEN)
    assert 0 < taken < 5000
    page.get_by_role("button", name="Run").focus()  # a round trip through the page, in which steps could be taken
    assert site.jobs.busy == (0, 0) and len(sample_app.TAKEN) == taken
    expect(stop).to_be_disabled()


def test_stop_works_from_the_instant_of_run_before_the_job_is_in_the_line(
    visit: Visit, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, enter, asked = visit.page, panel.submit, threading.Event()

    def late(*args: Any, **options: Any) -> Any:
        assert asked.wait(timeout=60), "Stop was not pressed before the job was in the line"
        return enter(*args, **options)

    monkeypatch.setattr(panel, "submit", late)
    monkeypatch.setattr(site.jobs, "cancel_all", lambda owner: asked.set())
    page.goto(site.page)
    open_more(page)
    set_value(page, "steps", "5000")
    set_value(page, "pause", "0.02")
    sample_app.TAKEN.clear()
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status .status-stopped")).to_be_visible()
    assert len(sample_app.TAKEN) < 5000 and site.jobs.busy == (0, 0)


def test_a_stop_that_comes_after_the_end_does_not_stop_the_next_run(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.page)
    run, stop = page.get_by_role("button", name="Run"), page.get_by_role("button", name="Stop")
    run.click()
    expect(page.locator("#status .status-done")).to_contain_text("40 steps")
    expect(stop).to_be_disabled()
    with page.expect_response("**/gradio_api/run/**"):
        stop.evaluate("e => { e.disabled = false; e.click(); }")  # as a click that was on its way
    set_value(page, "steps", "7")
    run.click()
    expect(page.locator("#status .status-done")).to_contain_text("7 steps")


def test_a_second_visitor_sees_the_place_in_line(visit: Visit, site: Site, browser: Any) -> None:
    first = visit.page
    first.goto(site.page)
    open_more(first)
    set_value(first, "steps", "5000")
    set_value(first, "pause", "0.02")
    first.get_by_role("button", name="Run").click()
    expect(first.locator("#status progress")).to_be_visible()
    second = browser.new_page()
    second.goto(site.page)
    second.get_by_role("button", name="Run").click()
    expect(second.locator("#status")).to_contain_text("Waiting: next in line")
    first.get_by_role("button", name="Stop").click()
    expect(second.locator("#status .status-done")).to_be_visible(timeout=30_000)
    second.close()


def test_closing_the_tab_cancels_the_job(browser: Any, site: Site) -> None:
    page = browser.new_page()
    page.goto(site.page)
    open_more(page)
    set_value(page, "steps", "5000")
    set_value(page, "pause", "0.05")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status progress")).to_be_visible()
    (job,) = site.jobs._running
    page.close()
    with pytest.raises(Exception, match="stopped"):
        job.outcome()
    assert len(sample_app.TAKEN) < 5000


def test_bad_input_is_a_sentence_on_the_page(visit: Visit, site: Site, tmp_path: Path) -> None:
    page = visit.page
    page.goto(site.page)
    bad = tmp_path / "<b>x.csv"
    bad.write_text("no numbers")
    page.locator("#option-start input[type=file]").set_input_files(str(bad))
    expect(page.locator("#option-start")).to_contain_text(re.compile(r"x\s*\.csv"))
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("is not a point; give one line x,y")
    assert page.locator("#status b").count() == 0, "a file's name must not become markup"


def test_an_uploaded_file_is_used(visit: Visit, site: Site, tmp_path: Path) -> None:
    page = visit.page
    page.goto(site.page)
    point = tmp_path / "point.csv"
    point.write_text("1000,1000")
    page.locator("#option-start input[type=file]").set_input_files(str(point))
    expect(page.locator("#option-start")).to_contain_text(re.compile(r"point\s*\.csv"))
    set_value(page, "steps", "2")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#status .status-done")).to_contain_text("2 steps, 100")


def test_the_keyboard_alone_reaches_a_result(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.address)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the apps")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Random walk")).to_be_focused()
    page.keyboard.press("Enter")
    run = page.get_by_role("button", name="Run")
    expect(run).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if run.evaluate("element => element === document.activeElement"):
            break
    expect(run).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#status .status-done")).to_be_visible()


def test_every_control_has_a_name(visit: Visit, site: Site) -> None:
    page = visit.page
    page.goto(site.page)
    open_more(page)
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input:not([type=file]), textarea, select, button')]
            .filter(e => e.offsetParent !== null)
            .filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim() || e.title
                           || e.getAttribute('aria-labelledby') || e.placeholder))
            .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []


# Every visible piece of text with the ground it stands on; gives those below 4.5 to 1 (3 to 1 for large text).
CONTRASTS = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m[3] ?? 1}; };
  const over = (t, u) => ({r: t.r*t.a + u.r*(1-t.a), g: t.g*t.a + u.g*(1-t.a), b: t.b*t.a + u.b*(1-t.a), a: 1});
  const light = c => { const f = [c.r, c.g, c.b].map(v => { v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
      return 0.2126*f[0] + 0.7152*f[1] + 0.0722*f[2]; };
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const ground = e => { const layers = [];
      for (let n = e; n; n = n.parentElement) layers.push(parse(getComputedStyle(n).backgroundColor));
      let c = dark ? {r: 0, g: 0, b: 0, a: 1} : {r: 255, g: 255, b: 255, a: 1};
      for (const layer of layers.reverse()) c = over(layer, c);
      return c; };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || e.closest('style, script, noscript, [hidden], :disabled')) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || !box.height || style.visibility === 'hidden' || style.opacity === '0') continue;
    const under = ground(e), text = over(parse(style.color), under);
    const [a, b] = [light(text), light(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio >= (large ? 3 : 4.5)) continue;
    bad.push(`${ratio.toFixed(2)} ${e.className} ${walk.currentNode.textContent.trim()}`);
  }
  return bad;
}"""
