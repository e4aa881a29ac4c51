"""Who may talk to the server: allowed hosts, own origin, bounded bodies, a password beyond loopback.

One ASGI gate stands before every mount, upload and MCP path. A page elsewhere on the web can make a browser send
requests to a server on the same machine; the ``Host`` check stops name rebinding, the ``Origin`` check stops cross-site
requests. The server itself asks nobody: analytics, hub access and downloads are switched off.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_UPLOAD = 512 * 2**20  # bytes of one file: a whole-body scan fits
LARGEST_BODY = 32 * 2**20  # bytes of every other request: settings, and small files as data URLs
MULTIPART = 2**20  # bytes that a form adds around a file
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"x-frame-options": b"SAMEORIGIN",
    # Gradio's pages need inline code; nothing on them may come from or go to another host.
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
}


def close_outgoing() -> None:
    """Switch off analytics and hub access; must run before Gradio is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"


def refuse_downloads() -> None:
    """Make Gradio refuse to fetch a URL that a visitor names as a file: files are uploaded, never fetched."""
    from gradio import Error, processing_utils

    async def refuse(url: str, cache_dir: str) -> str:
        raise Error("files are uploaded, not fetched from an address", title="Bad input", print_exception=False)

    def refuse_now(url: str, cache_dir: str) -> str:
        raise Error("files are uploaded, not fetched from an address", title="Bad input", print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse
    processing_utils.ssrf_protected_download = processing_utils.save_url_to_cache = refuse_now


@dataclass(frozen=True)
class Rules:
    """What the gate lets through. ``hosts`` are names without port; ``account`` is ``user:password`` or None."""

    hosts: frozenset[str]
    account: str | None = None
    largest_upload: int = LARGEST_UPLOAD


def rules(host: str, *, names: Iterable[str] = (), password_file: Path | None = None) -> Rules:
    """The rules for a server bound to ``host``.

    names           further names under which the server may be addressed
    password_file   file with one line ``user:password``; needed for any host beyond loopback
    Raises UserError when a host beyond loopback has no password, or the file is not of that form.
    """
    account = None
    if password_file is not None:
        try:
            account = password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UserError("cannot be read", where=str(password_file), remedy="give a text file") from None
        user, colon, password = account.partition(":")
        if not (user and colon and len(password) >= 8) or "\n" in account:
            remedy = "write one line user:password with at least 8 characters of password"
            raise UserError("is not a password file", where=str(password_file), remedy=remedy)
    if account is None and not _loopback(host):
        raise UserError(
            f"{host} can be reached from other machines and has no password",
            where="--host",
            remedy="add --password-file FILE with one line user:password, or use --host 127.0.0.1",
        )
    return Rules(frozenset({*LOOPBACK, host.lower(), *(name.lower() for name in names)}), account)


class Gate:
    """ASGI middleware that applies ``Rules`` to every request."""

    def __init__(self, app: Any, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(scope, send, *refusal)
            return
        # A visitor may not say under which address the server is known: Gradio's MCP bridge would call that address.
        kept = [(k, v) for k, v in scope["headers"] if not k.startswith(b"x-forwarded-") and k != b"forwarded"]
        await self._pass({**scope, "headers": kept}, receive, send)

    def _refusal(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or _name(hosts[0]) not in self.rules.hosts:
            return 421, "This server does not answer under that name."
        for name, value in headers:
            if name == b"origin" and not _same(value.decode("latin-1"), hosts[0]):
                return 403, "Requests from pages of another origin are refused."
            if name == b"sec-fetch-site" and value == b"cross-site" and scope.get("method") not in ("GET", "HEAD"):
                return 403, "Requests from pages of another site are refused."
        if self.rules.account is not None and not self._known(headers):
            return 401, "Please sign in."
        declared = next((value for name, value in headers if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self._limit(scope):
            return 413, f"At most {self._limit(scope) // 2**20} MiB are taken here."
        return None

    def _known(self, headers: list[tuple[bytes, bytes]]) -> bool:
        assert self.rules.account is not None
        expected = b"Basic " + base64.b64encode(self.rules.account.encode())
        given = next((value for name, value in headers if name == b"authorization"), b"")
        return secrets.compare_digest(given, expected)

    def _limit(self, scope: dict[str, Any]) -> int:
        return self.rules.largest_upload + MULTIPART if scope["path"].endswith("/upload") else LARGEST_BODY

    async def _pass(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Hand the request on; count its body, which may be longer than declared, and add the protective headers."""
        seen, started = 0, False

        async def counted() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit(scope):
                raise _TooLong
            return message

        async def protected(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(name, value) for name, value in message.get("headers", []) if name.lower() not in HEADERS]
                message = {**message, "headers": [*own, *HEADERS.items()]}
            await send(message)

        try:
            await self.app(scope, counted, protected)
        except _TooLong:
            if not started:
                await _answer(scope, send, 413, f"At most {self._limit(scope) // 2**20} MiB are taken here.")


class _TooLong(Exception):
    """The body is longer than allowed."""


async def _answer(scope: dict[str, Any], send: Any, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *HEADERS.items()]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="suite", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})


def _name(host: str) -> str:
    """The host of a ``Host`` header without its port, in lower case; empty when it is malformed."""
    if any(sign in host for sign in "@/?# "):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    """Whether an ``Origin`` names this host and port; ``null`` (sandboxed pages, files) is foreign."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
