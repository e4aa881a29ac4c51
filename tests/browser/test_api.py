"""The server as programs see it: API, MCP, uploads, and everything that must be refused, over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.browser.conftest import LARGEST_UPLOAD, Site
from tests.front import sample_app

ROOT = Path(__file__).resolve().parents[2]


def ask(site: Site, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(site.address).netloc, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def form(content: bytes, name: str = "a.csv") -> tuple[bytes, str]:
    """A multipart form with one file, and its content type."""
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def upload(site: Site, content: bytes, **headers: str) -> tuple[int, bytes]:
    body, kind = form(content)
    return ask(site, "POST", "/sample/gradio_api/upload", body, Content_Type=kind, **headers)


def call(site: Site, **values: Any) -> tuple[str, Any]:
    """(event, data) of the endpoint, called as curl would."""
    data = [values.get(option.name, option.plain(option.default)) for option in SHOWN]
    status, answer = ask(
        site,
        "POST",
        "/sample/gradio_api/call/sample_walk",
        json.dumps({"data": data}).encode(),
        Content_Type="application/json",
    )
    assert status == 200, answer
    _, stream = ask(site, "GET", f"/sample/gradio_api/call/sample_walk/{json.loads(answer)['event_id']}")
    last = stream.decode().strip().split("\n\n")[-1].splitlines()
    return last[0].removeprefix("event: "), json.loads(last[1].removeprefix("data: "))


SHOWN = sorted((o for o in sample_app.Walk.options() if not o.local), key=lambda option: not option.required)
PATHS = ["/", "/sample/", "/sample/gradio_api/info", "/sample/gradio_api/upload", "/sample/gradio_api/mcp/"]


@pytest.mark.parametrize("path", PATHS)
def test_another_host_name_is_refused_on_every_mount(site: Site, path: str) -> None:
    assert ask(site, "GET", path, Host="evil.example")[0] == 421
    assert ask(site, "POST", path, b"{}", Host="evil.example:80")[0] == 421


@pytest.mark.parametrize("path", [*PATHS, "/sample/gradio_api/queue/join", "/sample/gradio_api/call/sample_walk"])
def test_a_foreign_origin_is_refused_on_every_mount(site: Site, path: str) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert ask(site, "POST", path, b"{}", Origin=origin, Content_Type="application/json")[0] == 403
        assert ask(site, "OPTIONS", path, Origin=origin)[0] == 403


def test_uploads_are_bounded(site: Site) -> None:
    assert upload(site, b"x" * (LARGEST_UPLOAD - 1000))[0] == 200
    assert upload(site, b"x" * (LARGEST_UPLOAD + 1000))[0] == 413
    assert ask(site, "POST", "/sample/gradio_api/upload", None, Content_Length=str(10**12))[0] == 413
    assert upload(site, b"x", Origin="https://evil.example")[0] == 403


def test_no_file_of_the_server_is_served(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody shall read this")
    uploaded = json.loads(upload(site, b"500,500")[1])[0]
    assert ask(site, "GET", f"/sample/gradio_api/file={uploaded}") == (200, b"500,500")  # a visitor's own file is
    around = os.path.relpath(secret, Path(uploaded).parent)
    asked = ("/etc/passwd", str(ROOT / "pyproject.toml"), "../../etc/passwd", "%2Fetc%2Fpasswd")
    for path in (*asked, str(secret), os.path.relpath(secret), f"{Path(uploaded).parent}/{around}"):
        for spelled in (path, quote(path, safe="")):
            status, body = ask(site, "GET", f"/sample/gradio_api/file={spelled}")
            assert status in (403, 404) and b"nobody shall" not in body, spelled


def test_an_uploaded_file_and_an_example_give_a_result(site: Site) -> None:
    path = json.loads(upload(site, b"500,500")[1])[0]
    for start, far in (({"path": path, "meta": {"_type": "gradio.FileData"}}, "50"), ("example:origin", "")):
        event, (state, files) = call(site, start=start, steps=2)
        assert event == "complete" and state["state"] == "done" and f"2 steps, {far}" in state["sentence"]
        assert [file["orig_name"] for file in files] == ["walk.csv", "walk.json"]
        status, sidecar = ask(site, "GET", urlsplit(files[1]["url"]).path)
        assert status == 200 and json.loads(sidecar)["settings"]["steps"] == 2
        assert b"/tmp" not in sidecar


def test_a_path_or_an_address_is_refused_in_place_of_a_file(site: Site) -> None:
    meta = {"_type": "gradio.FileData"}
    for start in (
        "/etc/passwd",
        {"path": "/etc/passwd", "meta": meta},
        {"path": "http://127.0.0.1:9/a.csv", "meta": meta},
    ):
        event, data = call(site, start=start)
        assert event == "error", data


def test_values_out_of_range_are_one_sentence(site: Site) -> None:
    event, data = call(site, start="example:origin", steps=0)
    assert event == "error" and "--steps: 0 is out of range; allowed: 1 to 5000 steps" in json.dumps(data)


def test_the_python_client_works_and_lists_only_the_typed_endpoint(site: Site, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    point = tmp_path / "point.csv"
    point.write_text("3,4")
    client = Client(site.page, verbose=False, download_files=str(tmp_path))
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/sample_walk"]
    state, files = client.predict(start=handle_file(str(point)), steps=3, api_name="/sample_walk")
    assert state["sentence"].startswith("3 steps") and Path(files[0]).read_text().startswith("3.0,4.0")


def test_a_client_that_leaves_cancels_its_job(site: Site) -> None:
    from gradio_client import Client

    with site.jobs._changed:  # the job of the test before may still be at its last step
        assert site.jobs._changed.wait_for(lambda: not (site.jobs._running or site.jobs._line), timeout=60)
    sample_app.TAKEN.clear()
    client = Client(site.page, verbose=False)
    asked = client.submit(start="example:origin", steps=5000, pause=0.05, api_name="/sample_walk")
    with site.jobs._changed:
        assert site.jobs._changed.wait_for(lambda: site.jobs._running, timeout=30)
        (job,) = site.jobs._running
    asked.cancel()
    client.close()
    with pytest.raises(Exception, match="stopped"):
        job.outcome()
    assert len(sample_app.TAKEN) < 5000


def in_thread(work: Any) -> Any:
    """Run a coroutine function in a thread of its own: a browser of another test may hold this thread's loop."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(work())))
    thread.start()
    thread.join(timeout=60)
    return found[0]


def test_the_mcp_server_lists_the_tool_and_runs_it(site: Site) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> Any:
        async with (
            streamable_http_client(site.page + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            good = await session.call_tool("sample_walk", {"start": "example:origin", "steps": 4})
            data = await session.call_tool("sample_walk", {"start": "data:text/csv;name=p.csv;base64,MSwy", "steps": 4})
            bad = await session.call_tool("sample_walk", {"start": "/etc/passwd", "steps": 4})
            return tools, good, data, bad

    tools, good, data, bad = in_thread(talk)
    assert [tool.name for tool in tools] == ["sample_walk"]
    listed = tools[0].inputSchema["properties"]["steps"]
    assert (listed["minimum"], listed["maximum"], listed["default"]) == (1, 5000, 40)
    assert "4 steps" in good.content[0].text and not good.isError
    assert "4 steps" in data.content[0].text and not data.isError
    assert bad.isError and "names no uploaded file" in bad.content[0].text


OFFLINE = """
import fcntl, socket, struct, sys
with socket.socket() as s:  # bring the loopback interface of this new network up
    name = struct.pack("16sh", b"lo", 0x1 | 0x40)
    fcntl.ioctl(s, 0x8914, name)
import os, signal, threading
from shared.front.jobs import JobRunner
from suite.hub import build_server, serve
from suite.security import rules
from tests.front.sample_app import APP

def visit():
    from gradio_client import Client
    client = Client("http://127.0.0.1:7999/sample/", verbose=False, analytics_enabled=False, download_files=False)
    print(client.predict(start="example:origin", steps=3, api_name="/sample_walk")[0]["sentence"], flush=True)
    os.kill(os.getpid(), signal.SIGINT)

def build(known):
    made = build_server([APP], JobRunner(), known)
    threading.Thread(target=visit, daemon=True).start()
    return made

serve(build, host="127.0.0.1", port=7999, allowed=rules("127.0.0.1"))
"""


def test_the_server_works_without_a_network() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    environment = {k: v for k, v in os.environ.items() if k not in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE")}
    done = subprocess.run(
        [unshare, "-rn", sys.executable, "-c", OFFLINE],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    address, sentence = done.stdout.splitlines()
    assert address.startswith("http://127.0.0.1:7999/") and sentence.startswith("3 steps")
    assert done.stderr == "loading the pages; their address follows\n", "Ctrl-C with a visitor on the page is quiet"
