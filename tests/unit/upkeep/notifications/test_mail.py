"""Mail, through a real mail server: encryption, logins, both languages, and a server that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sftpgate.ledger.outbox.messages import Content, Message
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import MailSettings, NotifySettings, ReceiverSettings
from sftpgate.upkeep.notifications.audience import MAIL_LANE, Correspondent, Receiver, audience_of
from sftpgate.upkeep.notifications.ways.mail import Mail
from sftpgate.upkeep.notifications.wording import Reader
from tests.harness.notified import AT, MailServer, authority, happened, mail_server, message

ADMIN = "it@school.example"
SENDER = "erp@school.example"


def way_to(server: MailServer, *, language: Language = Language.ENGLISH, address: str | None = SENDER, **settings: Any) -> Mail:
    """The way through a mail server."""
    values = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "sender": "gate@school.example",
        "timeout": 5.0,
    } | settings
    mail = MailSettings(**values)
    audience = audience_of(NotifySettings(mail=mail, to={"admins": ReceiverSettings(mail=(ADMIN,))}), language)

    def reader_of(receiver: Receiver) -> Reader:
        return Reader(language=receiver.language, zone=UTC, gate="School gate")

    def sender_of(user: str) -> Correspondent | None:
        return None if address is None or user != "erp" else Correspondent(address, Language.FRENCH)

    return Mail(mail, audience.receivers, reader_of=reader_of, sender_of=sender_of, clock=lambda: AT)


def mail_to(recipient: str = ADMIN, receiver: str = "admins") -> Message:
    """A message to somebody."""
    return message(MAIL_LANE, recipient=recipient, receiver=receiver)


async def deliver(way: Mail, what: Message | None = None) -> Attempt:
    """Deliver it once; never longer than some seconds."""
    return await asyncio.wait_for(way.deliver(what or mail_to()), 20)


async def test_a_mail_in_two_forms() -> None:
    """A mail says what happened as plain text and as HTML, keeps its id, and asks for no answer."""
    async with mail_server() as server:
        sent = mail_to()
        attempt = await deliver(way_to(server), sent)
    assert attempt == Attempt(verdict=Verdict.SENT, said="250 queued as 4711") or attempt.verdict is Verdict.SENT
    [got] = server.got
    assert got["Subject"].startswith("[School gate] enrols.csv has failed too often")
    assert got["Message-ID"] == f"<{sent.id}@school.example>"
    assert (got["To"], got["Auto-Submitted"], got["Content-Language"]) == (ADMIN, "auto-generated", "en")
    plain, rich = got.get_body(("plain",)), got.get_body(("html",))
    assert plain is not None and rich is not None
    assert "sender:  erp" in plain.get_content() and "enrols" in plain.get_content()
    assert "<table" in rich.get_content() and "http" not in rich.get_content()


@pytest.mark.parametrize("implicit_tls", [False, True], ids=["starttls", "tls"])
async def test_encryption_and_login(tmp_path: Path, implicit_tls: bool) -> None:
    """With TLS from the first byte or by STARTTLS, the server's certificate is checked and the login is used."""
    ca, ca_file = authority(tmp_path)
    password = tmp_path / "password"
    password.write_text("s3cret-word\n", encoding="utf-8")
    login: dict[str, Any] = {"security": "tls" if implicit_tls else "starttls", "user": "gate", "password_file": password}
    async with mail_server(ca, implicit_tls=implicit_tls) as server:
        refused = await deliver(way_to(server, **login))
        assert refused.verdict is Verdict.AWAY and "certificate" in refused.said.lower()
        assert (await deliver(way_to(server, **login, ca_file=ca_file))).verdict is Verdict.SENT
        wrong: dict[str, Any] = {**login, "password_file": None, "password": SecretStr("not-this-one")}
        attempt = await deliver(way_to(server, **wrong, ca_file=ca_file))
        assert attempt.verdict is Verdict.AWAY and "refuses the login" in attempt.said
        assert "not-this-one" not in attempt.said
    assert len(server.got) == 1


async def test_a_server_without_tls_gets_no_password(tmp_path: Path) -> None:
    """If a server does not offer STARTTLS, nothing is sent to it."""
    async with mail_server() as server:
        attempt = await deliver(way_to(server, security="starttls", user="gate", password=SecretStr("s3cret-word")))
    assert attempt.verdict is Verdict.AWAY and server.got == []


async def test_a_server_that_hangs_after_the_content() -> None:
    """A server that says nothing after DATA costs the timeout; the mail is sent again under its id."""
    async with mail_server() as server:
        server.hangs_after_data = True
        sent = mail_to()
        attempt = await deliver(way_to(server, timeout=0.5), sent)
        assert (attempt.verdict, attempt.said) == (Verdict.AWAY, "the mail server did not answer within 0.5 s")
        server.hangs_after_data = False
        assert (await deliver(way_to(server), sent)).verdict is Verdict.SENT
    assert [mail["Message-ID"] for mail in server.got] == [f"<{sent.id}@school.example>"] * 2


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("550 no such user", Verdict.REFUSED), ("450 try later", Verdict.LATER), ("452 full", Verdict.LATER)],
)
async def test_an_address_that_is_refused(reply: str, verdict: Verdict) -> None:
    """An address that is refused for good is given up at once, one that is refused for now is tried again."""
    async with mail_server() as server:
        server.refuses[ADMIN] = reply
        attempt = await deliver(way_to(server))
    assert attempt.verdict is verdict and reply[4:] in attempt.said


async def test_content_that_is_refused() -> None:
    """What the server says to the content is kept, and means what its number says."""
    async with mail_server() as server:
        server.reply_to_data = "554 looks like spam"
        attempt = await deliver(way_to(server))
    assert attempt.verdict is Verdict.REFUSED and "looks like spam" in attempt.said


async def test_a_server_that_is_not_there() -> None:
    """A server that cannot be reached is away, and what is said names it."""
    async with mail_server() as server:
        pass
    attempt = await deliver(way_to(server))
    assert attempt.verdict is Verdict.AWAY and str(server.port) in attempt.said


async def test_a_sender_reads_its_own_language() -> None:
    """A sender is written to at the address of its account, in its language, without the inside of the platform."""
    told = happened("arrival.release_failed", error="/srv/moodle/config.php: denied", address="192.0.2.7")
    told = replace(told, event="arrival.quarantined", actor="cli:alice(1000)")
    content = Content().with_event("arrival.quarantined", told)
    async with mail_server() as server:
        what = replace(mail_to("user:erp", "senders"), content=content)
        assert (await deliver(way_to(server), what)).verdict is Verdict.SENT
    [got] = server.got
    body = got.get_body(("plain",))
    assert body is not None and got["To"] == SENDER and got["Content-Language"] == "fr"
    text = body.get_content()
    assert "échoué trop souvent" in got["Subject"] and "fichier" in text
    assert "alice" not in text and "/srv/moodle" not in text and "192.0.2.7" not in text


async def test_an_address_that_is_gone_from_the_settings() -> None:
    """What was due to an address that the settings do not have any more is not sent there."""
    async with mail_server() as server:
        assert (await deliver(way_to(server), mail_to("former@school.example"))).verdict is Verdict.REFUSED
        assert (await deliver(way_to(server, address=None), mail_to("user:erp", "senders"))).verdict is Verdict.REFUSED
    assert server.got == []


async def test_hostile_names() -> None:
    """A file's name can neither begin a header nor a tag, nor paint a terminal."""
    told = happened(path="a\r\nBcc: all@school.example\r\n\r\n<script>alert(1)</script>\x1b[31m.csv")
    what = replace(mail_to(), content=Content().with_event("arrival.quarantined", told))
    async with mail_server() as server:
        assert (await deliver(way_to(server), what)).verdict is Verdict.SENT
    [got] = server.got
    rich = got.get_body(("html",))
    assert rich is not None and got["Bcc"] is None and server.recipients == [[ADMIN]]
    assert "<script>" not in rich.get_content() and "\x1b" not in got.as_string()
