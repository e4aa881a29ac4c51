"""The gate: allowed names, own origin, bounded bodies, a password beyond loopback."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from suite.security import LARGEST_BODY, MULTIPART, Gate, Rules, rules

HERE = "127.0.0.1:7860"


def ask(
    gate_rules: Rules,
    method: str = "POST",
    path: str = "/medical/gradio_api/queue/join",
    headers: dict[str, str] | None = None,
    chunks: tuple[bytes, ...] = (b"{}",),
    kind: str = "http",
) -> tuple[int, dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    """(status, response headers, request headers that reached the server); status 0 when nothing was answered."""
    reached: list[tuple[bytes, bytes]] = []
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": c, "more_body": n < len(chunks) - 1} for n, c in enumerate(chunks)]

    async def server(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        reached.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOW")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"host": HERE, **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
    scope = {"type": kind, "method": method, "path": path, "headers": raw}
    asyncio.run(Gate(server, gate_rules)(scope, receive, send))
    return sent[0].get("status", 0), dict(sent[0].get("headers", [])), reached


LOCAL = rules("127.0.0.1")


@pytest.mark.parametrize("host", [HERE, "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_the_servers_own_names_are_answered(host: str) -> None:
    assert ask(LOCAL, headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "0.0.0.0", "[::1", "a@localhost"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_other_name_is_refused(host: str, method: str) -> None:
    assert ask(LOCAL, method=method, headers={"host": host})[0] == 421


def test_two_host_headers_are_refused() -> None:
    assert ask(LOCAL, headers={"Host": "evil.example"})[0] == 200, "ASGI names are in lower case; this one is no host"
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost"), (b"host", b"evil")]}
    answered = Gate(None, LOCAL)._refusal(scope)
    assert answered is not None and answered[0] == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1", "file://", "http://[", "x"]
)
@pytest.mark.parametrize(
    "path", ["/medical/gradio_api/queue/join", "/medical/gradio_api/upload", "/medical/gradio_api/mcp/", "/"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "GET"])
def test_a_foreign_origin_is_refused_on_every_path(origin: str, path: str, method: str) -> None:
    assert ask(LOCAL, method=method, path=path, headers={"origin": origin})[0] == 403


def test_the_own_origin_and_programs_without_one_are_served() -> None:
    assert ask(LOCAL, headers={"origin": f"http://{HERE}"})[0] == 200
    assert ask(LOCAL)[0] == 200


def test_a_cross_site_request_without_an_origin_is_refused_unless_it_only_reads() -> None:
    assert ask(LOCAL, headers={"sec-fetch-site": "cross-site"})[0] == 403
    assert ask(LOCAL, method="GET", headers={"sec-fetch-site": "cross-site"})[0] == 200


@pytest.mark.parametrize("path", ["/x/gradio_api/upload", "/x/gradio_api/queue/join"])
def test_a_body_that_is_too_long_is_refused_declared_or_not(path: str) -> None:
    small = Rules(LOCAL.hosts, largest_upload=1000)
    limit = 1000 + MULTIPART if path.endswith("upload") else LARGEST_BODY
    assert ask(small, path=path, headers={"content-length": str(limit)})[0] == 200
    assert ask(small, path=path, headers={"content-length": str(limit + 1)})[0] == 413
    assert ask(small, path=path, headers={"content-length": "-1"})[0] == 413
    assert ask(small, path=path, chunks=(b"x" * limit, b"x"))[0] == 413
    assert ask(small, path=path, chunks=(b"x" * (limit - 1), b"x"))[0] == 200


def test_a_visitor_cannot_say_under_which_address_the_server_is_known() -> None:
    forged = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "forwarded": "host=evil", "accept": "a"}
    reached = ask(LOCAL, headers=forged)[2]
    assert {name for name, _ in reached} == {b"host", b"accept"}


def test_answers_carry_the_protective_headers_once() -> None:
    headers = ask(LOCAL)[1]
    assert headers[b"x-frame-options"] == b"SAMEORIGIN" and b"default-src 'self'" in headers[b"content-security-policy"]


def test_a_foreign_websocket_is_closed() -> None:
    assert ask(LOCAL, headers={"origin": "https://evil.example"}, kind="websocket")[0] == 0


def test_a_host_beyond_loopback_needs_a_password(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "server.example"):
        with pytest.raises(UserError, match="has no password; add --password-file"):
            rules(host)
    file = tmp_path / "password"
    file.write_text("ada:a long enough word\n")
    known = rules("192.168.1.5", names=["Server.Example"], password_file=file)
    signed = "Basic " + base64.b64encode(b"ada:a long enough word").decode()
    for host in ("192.168.1.5:80", "server.example", "localhost"):
        assert ask(known, headers={"host": host})[0] == 401
        assert ask(known, headers={"host": host, "authorization": signed + "x"})[0] == 401
        assert ask(known, headers={"host": host, "authorization": signed})[0] == 200


@pytest.mark.parametrize("content", ["ada", "ada:short", ":nobody's password", "a:long enough\nb:long enough"])
def test_a_password_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(UserError, match="is not a password file"):
        rules("0.0.0.0", password_file=file)
    with pytest.raises(UserError, match="cannot be read"):
        rules("0.0.0.0", password_file=tmp_path / "absent")
