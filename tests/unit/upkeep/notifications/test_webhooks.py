"""Webhooks, against a receiver that fails in every way: signatures, answers, and addresses that are never connected to."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier

from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.policy.reachable_addresses import networks
from sftpgate.settings.notify import ReceiverSettings
from sftpgate.upkeep.notifications.ways.signatures import new_key, public_key, signatures
from sftpgate.upkeep.notifications.ways.webhook import Webhook
from tests.harness import notified
from tests.harness.notified import AT, HMAC_KEY, LOOPBACK, Hook, authority, message, status, webhook


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    """A receiver."""
    async with webhook() as made:
        yield made


def way_to(
    url: str,
    *,
    keys: tuple[str, ...] = (HMAC_KEY,),
    allowed: tuple[str, ...] = LOOPBACK,
    timeout: float = 5.0,
    ca_file: Path | None = None,
) -> Webhook:
    """The way to a webhook."""
    settings = ReceiverSettings(url=SecretStr(url), keys=tuple(map(SecretStr, keys)), timeout=timeout, ca_file=ca_file)
    return Webhook(settings, networks(allowed), source="urn:sftpgate:01TEST", gate="gate", clock=lambda: AT)


async def deliver(way: Webhook) -> Attempt:
    """Deliver one message."""
    try:
        return await way.deliver(message())
    finally:
        await way.close()


async def test_a_message_arrives_signed(hook: Hook) -> None:
    """What a webhook gets is a CloudEvent, and the library of the specification accepts its signature."""
    way, sent = way_to(hook.url), message()
    assert (await way.deliver(sent)).verdict is Verdict.SENT
    await way.close()
    [got] = hook.got
    assert got.headers["webhook-id"] == sent.id
    assert got.headers["Content-Type"].startswith("application/cloudevents+json")
    verifier = Verifier(HMAC_KEY)
    moment = str(int(AT.timestamp()))
    assert got.headers["webhook-timestamp"] == moment
    assert verifier.sign(sent.id, AT, got.body.decode()) == got.headers["webhook-signature"]
    event = json.loads(got.body)
    assert (event["specversion"], event["id"], event["type"]) == ("1.0", sent.id, "sftpgate.arrival.quarantined")
    assert (event["source"], event["subject"], event["time"]) == ("urn:sftpgate:01TEST", "01K3A", "2026-03-02T10:00:00.000Z")
    [told] = event["data"]["events"]
    assert told["path"] == "enrols.csv" and "mis de côté" in told["text"]["fr"]


def test_two_keys_sign_during_a_rotation() -> None:
    """With a shared secret and a key of ours there are two signatures, and each receiver can check its own."""
    own = new_key(bytes(range(32)), shared=False)
    value = signatures([HMAC_KEY, own], "msg", 1700000000, b"{}")
    first, second = value.split(" ")
    assert first == Verifier(HMAC_KEY).sign("msg", AT.fromtimestamp(1700000000, AT.tzinfo), "{}")
    public = public_key(own)
    assert public is not None and public.startswith("whpk_") and public_key(HMAC_KEY) is None
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    version, _, signature = second.partition(",")
    assert version == "v1a"
    key.verify(base64.b64decode(signature), b"msg.1700000000.{}")


@pytest.mark.parametrize(
    ("answer", "verdict", "said"),
    [
        (status(200, "thanks"), Verdict.SENT, "200"),
        (status(302, "", location="http://127.0.0.1:1/"), Verdict.LATER, "redirects are not followed"),
        (status(400, "no such field"), Verdict.LATER, "no such field"),
        (status(401), Verdict.LATER, "401"),
        (status(410, "bye"), Verdict.GONE, "410"),
        (status(429), Verdict.AWAY, "429"),
        (status(500, "boom"), Verdict.AWAY, "boom"),
        (status(503), Verdict.AWAY, "503"),
        (notified.hang_up, Verdict.AWAY, ""),
        (notified.endless, Verdict.AWAY, "500"),
    ],
)
async def test_what_an_answer_means(
    hook: Hook, answer: Callable[[object], Awaitable[object]], verdict: Verdict, said: str
) -> None:
    """A message is delivered by any 2xx; each other answer is an attempt that failed, in its own way."""
    hook.answers.append(answer)  # type: ignore[arg-type]  # the same functions, by a looser name
    attempt = await deliver(way_to(hook.url))
    assert attempt.verdict is verdict
    assert said in attempt.said and len(attempt.said) <= 300
    assert len(hook.got) == 1


async def test_a_receiver_that_never_answers(hook: Hook) -> None:
    """A receiver that answers after five minutes, or never, costs the timeout and no more."""
    hook.answers.append(notified.never)
    attempt = await asyncio.wait_for(deliver(way_to(hook.url, timeout=0.3)), 5)
    assert (attempt.verdict, attempt.said) == (Verdict.AWAY, "no answer within 0.3 s")


async def test_an_answer_that_drips() -> None:
    """A head that comes byte by byte costs the timeout and no more."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        attempt = await asyncio.wait_for(deliver(way_to(f"http://127.0.0.1:{port}/", timeout=0.3)), 5)
        server.close()
    assert attempt.verdict is Verdict.AWAY


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120), ("Mon, 02 Mar 2026 10:05:00 GMT", 300), ("9999999999", 86400), ("soon", None)]
)
async def test_a_pause_is_kept(hook: Hook, header: str, seconds: float | None) -> None:
    """Retry-After in seconds or as a date is heeded, up to a day."""
    hook.answers.append(status(503, retry_after=header))
    attempt = await deliver(way_to(hook.url))
    assert attempt.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "10.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_private_addresses_are_never_connected_to(host: str) -> None:
    """An address of this machine, of a private network or of a cloud's services is refused, however it is written."""
    attempt = await deliver(way_to(f"https://{host}/", allowed=()))
    assert attempt.verdict is Verdict.AWAY
    assert "private or special address" in attempt.said and "allowed_networks" in attempt.said


async def test_an_address_as_a_number_is_no_way_round() -> None:
    """An address that is written as one number is refused before anything is connected to."""
    attempt = await deliver(way_to("https://2130706433/", allowed=()))
    assert attempt.verdict is Verdict.AWAY and "2130706433" in attempt.said


async def test_a_name_that_leads_elsewhere_later(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was public when it was looked at, and private when it is connected to, is refused: what counts is the address
    that is connected to.
    """
    answers = iter(["93.184.215.14", "127.0.0.1"])

    async def lookup(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), hook.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup, raising=False)
    next(answers)  # whoever checks before it connects has seen the public one
    attempt = await deliver(way_to(f"https://rebind.example:{hook.port}/", allowed=()))
    assert "127.0.0.1 is a private or special address" in attempt.said
    assert hook.got == []


async def test_plain_http_needs_a_listed_network(hook: Hook) -> None:
    """Without TLS nothing is sent, but into networks that are listed."""
    assert (await deliver(way_to(hook.url))).verdict is Verdict.SENT
    attempt = await deliver(way_to("http://93.184.215.14/", allowed=()))
    assert "use https" in attempt.said


async def test_certificates(tmp_path: Path) -> None:
    """A certificate that nobody vouches for is refused; one that the settings' authority signed is taken."""
    ca, ca_file = authority(tmp_path)
    async with webhook(ca) as hook:
        attempt = await deliver(way_to(hook.url))
        assert attempt.verdict is Verdict.AWAY and "certificate" in attempt.said.lower()
        assert hook.got == []
        assert (await deliver(way_to(hook.url, ca_file=ca_file))).verdict is Verdict.SENT


async def test_secrets_are_not_repeated(hook: Hook) -> None:
    """Neither the URL's secret part nor a key is in what is said of an attempt, whatever the receiver repeats."""
    hook.answers.append(status(500, f"bad {HMAC_KEY} at /hooks/secret-token"))
    attempt = await deliver(way_to(hook.url))
    assert "secret-token" not in attempt.said and HMAC_KEY not in attempt.said
    attempt = await deliver(way_to("https://127.0.0.1:1/hooks/secret-token"))
    assert "secret-token" not in attempt.said
    settings = ReceiverSettings(url=SecretStr(hook.url), keys=(SecretStr(HMAC_KEY),))
    assert "secret-token" not in repr(settings) and HMAC_KEY not in repr(settings)
