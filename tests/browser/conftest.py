"""A real server in this process, with the sample app or with those of a domain, and a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from shared.front.jobs import JobRunner
from suite.apps import APPS, App
from suite.hub import build_server
from suite.security import Rules, rules
from tests.front.sample_app import APP

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
LARGEST_UPLOAD = 100_000

# Parts of file names that are cut, or that lie outside the box that shows them.
CUT_NAMES = """() => [...document.querySelectorAll('.file-preview .filename')].filter((name) => {
  if (!name.offsetParent) return false;
  const box = name.closest('.block').getBoundingClientRect(), own = name.getBoundingClientRect();
  const parts = [name, ...name.children];
  return own.left < box.left || own.right > box.right || own.width < 60
    || parts.some((part) => getComputedStyle(part).display !== 'inline' && part.scrollWidth > part.clientWidth + 1);
}).map((name) => `${name.textContent} in ${name.closest('.block').id}: ${name.getBoundingClientRect().width} px`)"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Gradio's own use of what pandas is phasing out pass: the server shares this process."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:('future.no_silent|The copy keyword)"))


@dataclass(frozen=True)
class Site:
    """A running server: its address and its job runner."""

    address: str
    jobs: JobRunner

    @property
    def page(self) -> str:
        return self.address + "sample/"


@contextlib.contextmanager
def serving(apps: Sequence[App], allowed: Rules | None = None) -> Iterator[Site]:
    """The hub with these apps, on a free port, in a thread of this process."""
    jobs, ready = JobRunner(slots=1), threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        # Inside an event loop, so that Gradio makes none of its own.
        application = build_server(apps, jobs, rules("127.0.0.1") if allowed is None else allowed)
        server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        found.update(server=server, port=server.servers[0].sockets[0].getsockname()[1])
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not ready.wait(timeout=0.5):
        assert thread.is_alive(), "the server did not start"
    try:
        yield Site(f"http://127.0.0.1:{found['port']}/", jobs)
    finally:
        found["server"].should_exit = True
        thread.join(timeout=30)


def hold_until_stopped(site: Site) -> None:
    """Called inside a run: wait until its visitor asks it to stop, so that no machine is too fast for the test."""
    (job,) = site.jobs._running
    assert job._stop.wait(timeout=120), "nobody stopped the run"


def apps_of(domain: str) -> list[App]:
    """The apps of one domain."""
    return [app for app in APPS if app.domain == domain]


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The hub with the sample app."""
    with serving([APP], Rules(rules("127.0.0.1").hosts, largest_upload=LARGEST_UPLOAD)) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a sandbox (containers) and without its own background requests.

    Of one module only: Playwright keeps an event loop running in this thread, where other tests start their own.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(
        timeout=30_000
    )  # milliseconds; a shared machine can be slow, and waiting ends as soon as it is so
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page of the browser, and what it asked for and complained about."""

    page: Any
    foreign: list[str]
    errors: list[str]


@contextlib.contextmanager
def visiting(browser: Any, site: Site, request: pytest.FixtureRequest, *, patience: float = 30_000) -> Iterator[Visit]:
    """A fresh page, 1440 px wide and light unless the test says (width, scheme) through ``indirect``.

    patience   milliseconds that an action waits
    """
    width, scheme = getattr(request, "param", (1440, "light"))
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(patience)
    seen = Visit(page, [], [])
    home = (site.address, "data:", "blob:")
    context.on("request", lambda asked: None if asked.url.startswith(home) else seen.foreign.append(asked.url))
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    try:
        yield seen
    finally:
        context.close()


@pytest.fixture
def visit(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh page before the hub with the sample app."""
    with visiting(browser, site, request) as seen:
        yield seen


def download_the_last(page: Any) -> None:
    """Click the last of the files of a run, which read whole, and see that it comes."""
    assert page.evaluate(CUT_NAMES) == []
    with page.expect_download():
        page.locator("#files a").last.click()


def set_number(page: Any, option: str, value: float) -> None:
    """Type into the box of a slider until the slider follows: the box is there before it listens."""
    from playwright.sync_api import expect

    box = page.locator(f"#option-{option} input[type=number]")
    slider = page.locator(f"#option-{option} input[type=range]")
    for _ in range(20):
        box.fill(str(value))
        box.press("Tab")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if slider.input_value() == str(value):
            return
    expect(slider).to_have_value(str(value))
