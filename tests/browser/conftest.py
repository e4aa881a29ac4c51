"""A real server with the sample app in this process, and a real Chromium."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from shared.front.jobs import JobRunner
from suite.hub import build_server
from suite.security import Rules, rules
from tests.front.sample_app import APP

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
LARGEST_UPLOAD = 100_000


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


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The hub with the sample app, on a free port, in a thread of this process."""
    jobs = JobRunner(slots=1)
    allowed = Rules(rules("127.0.0.1").hosts, largest_upload=LARGEST_UPLOAD)
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        application = build_server([APP], jobs, allowed)  # inside an event loop, so that Gradio makes none of its own
        server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning", timeout_graceful_shutdown=1))
        found["server"] = server
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        found["port"] = server.servers[0].sockets[0].getsockname()[1]
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not ready.wait(timeout=0.5):
        assert thread.is_alive(), "the server did not start"
    yield Site(f"http://127.0.0.1:{found['port']}/", jobs)
    found["server"].should_exit = True
    thread.join(timeout=30)


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


@pytest.fixture
def visit(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh page at the width that the test asks for (``indirect``), 1440 px by default."""
    width, scheme = getattr(request, "param", (1440, "light"))
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(30_000)
    seen = Visit(page, [], [])

    def watch(asked: Any) -> None:
        if not asked.url.startswith((site.address, "data:", "blob:")):
            seen.foreign.append(asked.url)

    context.on("request", watch)
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    yield seen
    context.close()
