"""Those who are told: a webhook and a mail server on loopback that fail in every way, and an outbox to deliver from."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import trustme
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sftpgate.ids import new_id
from sftpgate.ledger.outbox.messages import Content, Message
from sftpgate.policy.notification_rules import Happened, kinds_of
from sftpgate.threads import Threads

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HMAC_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
LOOPBACK = ("127.0.0.0/8",)

P = ParamSpec("P")
T = TypeVar("T")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)


class InLine(Threads):
    """Does at once what others do in threads: what ends a process there would end the thread alone."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it."""
        return function(*args, **kwargs)


def happened(event: str = "arrival.quarantined", *, seq: int = 7, **details: str | int | float | bool | None) -> Happened:
    """An event about a file of ``erp``."""
    facts = {"path": "enrols.csv", "state": "quarantined"} | details
    path = str(facts["path"])
    return Happened(
        seq=seq, at=AT, event=event, actor="system", user="erp", arrival="01K3A", path=path, size=12, tool="enrols", details=facts
    )


def message(lane: str = "hook", *, told: Happened | None = None, recipient: str = "", receiver: str = "") -> Message:
    """A message that is due."""
    event = told or happened()
    kind = kinds_of(event.event, event.details)[-1]
    return Message(
        id=new_id(AT),
        lane=lane,
        receiver=receiver or lane,
        recipient=recipient,
        rule="all",
        kind=kind,
        content=Content().with_event(kind, event),
        created_at=AT,
        due_at=AT,
    )


@dataclass
class Got:
    """A request that a webhook got."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Hook:
    """A webhook. ``answers``: what it does with the next requests; after them it answers 204."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    tls: trustme.CA | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/hooks/secret-token"

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take a request."""
        self.got.append(Got(headers=dict(request.headers), body=await request.read()))
        answer = self.answers.pop(0) if self.answers else status(204)
        return await answer(request)


def status(code: int, text: str = "", **headers: str) -> Answer:
    """Answer with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def never(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    """Answer 500 and send for ever."""
    answer = web.StreamResponse(status=500)
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(b"x" * 65536)
    return answer


@contextlib.asynccontextmanager
async def webhook(tls: trustme.CA | None = None) -> AsyncIterator[Hook]:
    """A webhook on loopback."""
    hook = Hook(tls=tls)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hook.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.issue_cert("127.0.0.1").configure_cert(context)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    hook.port = runner.addresses[0][1]
    try:
        yield hook
    finally:
        await runner.cleanup()


class MailServer:
    """A mail server: takes mail, or fails as it is told to. ``users``: names and passwords."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.users = {"gate": "s3cret-word"}
        self.hangs_after_data = False
        self.reply_to_data = ""
        self.refuses: dict[str, str] = {}
        self.port = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        assert isinstance(envelope.content, bytes)
        parsed = message_from_bytes(envelope.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.got.append(parsed)
        self.recipients.append(list(envelope.rcpt_tos))
        if self.hangs_after_data:
            await asyncio.Event().wait()
        return self.reply_to_data or "250 queued as 4711"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        """Check a login."""
        assert isinstance(data, LoginPassword)
        return AuthResult(success=self.users.get(data.login.decode()) == data.password.decode(), handled=False)


@contextlib.asynccontextmanager
async def mail_server(ca: trustme.CA | None = None, *, implicit_tls: bool = False) -> AsyncIterator[MailServer]:
    """A mail server on loopback; with ``ca`` it has TLS, and takes logins."""
    server = MailServer()
    context = None
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    options: dict[str, Any] = {"hostname": "mx.test"}
    if context is not None and not implicit_tls:
        options |= {"tls_context": context, "require_starttls": True}
    if context is not None:
        options |= {"authenticator": server.authenticate, "auth_required": True, "auth_require_tls": not implicit_tls}
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # it does not see that the socket below it is encrypted
            sessions.append(SMTP(server, loop=loop, **options))
        return sessions[-1]

    listening = await loop.create_server(session, "127.0.0.1", 0, ssl=context if implicit_tls else None)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for each in sessions:
            if isinstance(each.transport, asyncio.WriteTransport):
                each.transport.abort()
        await asyncio.sleep(0)


def authority(directory: Path) -> tuple[trustme.CA, Path]:
    """A certificate authority, and the file of its certificate."""
    ca = trustme.CA()
    file = directory / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return ca, file
