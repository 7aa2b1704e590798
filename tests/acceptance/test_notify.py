"""Notifications of a real server: a file arrives over SFTP, and a webhook, a mailbox and a command hear of it, whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from sftpgate.ledger.audit import feed
from sftpgate.ledger.database.connection import Ledger
from tests.harness import notified
from tests.harness.notified import HMAC_KEY, Hook, MailServer, mail_server, webhook
from tests.harness.servers import Gate, words_of

WAIT_SECONDS = 30


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    for _ in range(WAIT_SECONDS * 50):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it did not come to this: {what}")


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    """A webhook."""
    async with webhook() as made:
        yield made


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    """A mail server."""
    async with mail_server() as made:
        yield made


def rules(directory: Path, hook: Hook, mail: MailServer, events: str = "arrival.received notify.*") -> str:
    """A settings file that tells everybody."""
    return f"""
[notify]
name = "School"
allowed_networks = "127.0.0.0/8"
[notify.mail]
host = "127.0.0.1"
port = {mail.port}
security = "none"
sender = "gate@school.example"
[notify.to.hook]
url = "{hook.url}"
keys = ["{HMAC_KEY}"]
timeout = "2s"
[notify.to.admins]
mail = "it@school.example"
[notify.to.script]
command = ["sh", "-c", "cat >> {directory}/told.json; echo thanks"]
[notify.rules.all]
events = "{events}"
to = ["hook", "admins", "script", "senders"]
digest = 0
"""


def gate_with(directory: Path, text: str) -> Gate:
    """A server with these settings."""
    config = directory / "sftpgate.toml"
    config.write_text(text, encoding="utf-8")
    gate = Gate(directory, CONFIG=str(config))
    account = directory / "keys/users/erp/user.toml"
    account.write_text(account.read_text(encoding="utf-8") + 'mail = "erp@school.example"\nlanguage = "fr"\n', encoding="utf-8")
    return gate


async def follows(gate: Gate) -> None:
    """Wait until the follower has joined: it tells of what happens from then on."""

    def has_joined() -> bool:
        with closing(Ledger(f"sqlite:///{gate.data}/ledger.db")) as ledger, ledger.reading() as connection:
            return any(each.name == "notifications" for each in feed.all_followers(connection))

    await until(has_joined, "the record is followed")


async def prints(gate: Gate, wanted: str, *words: str) -> str:
    """Wait until a command prints something; return all that it prints. The receivers of this test go on meanwhile."""
    text = ""
    for _ in range(WAIT_SECONDS):
        text = await asyncio.to_thread(gate.command, *words)
        if wanted in text:
            return text
    raise AssertionError(f"{words} does not print {wanted}: {text}")


async def send(gate: Gate, name: str, content: str = "a\n1\n") -> None:
    """Send a file, as the ERP does it."""
    connection = await gate.connect()
    async with connection, connection.start_sftp_client() as sftp, sftp.open(name, "w") as file:
        await file.write(content)


def notifier_of(gate: Gate) -> int | None:
    """The process that delivers."""
    return next((pid for pid in gate.children() if "deliver" in words_of(pid)), None)


@pytest.mark.promise("P8")
async def test_everybody_hears_of_it(tmp_path: Path, hook: Hook, mail: MailServer) -> None:
    """A file that arrives is told to a webhook, by mail in two languages, and to a command; the commands list what they said."""
    with gate_with(tmp_path, rules(tmp_path, hook, mail)) as gate:
        await asyncio.to_thread(gate.start)
        await until(lambda: notifier_of(gate), "a process delivers")
        await follows(gate)
        await send(gate, "enrols.csv")
        await until(lambda: len(hook.got) == 1 and len(mail.got) == 2, "all are told")
        assert json.loads(hook.got[0].body)["data"]["events"][0]["path"] == "enrols.csv"
        assert {got["To"]: got["Content-Language"] for got in mail.got} == {"it@school.example": "en", "erp@school.example": "fr"}
        await until(lambda: (tmp_path / "told.json").is_file() and (tmp_path / "told.json").stat().st_size, "the command is told")
        assert json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))["type"] == "sftpgate.arrival.received"

        rows: list[dict[str, object]] = []
        while {row["state"] for row in rows} != {"sent"}:
            rows = json.loads(await asyncio.to_thread(gate.command, "notify", "list", "--json"))
        assert {(row["receiver"], row["recipient"]) for row in rows} == {
            ("hook", ""), ("admins", "it@school.example"), ("script", ""), ("senders", "user:erp"),
        }  # fmt: skip
        [of_hook] = [row for row in rows if row["receiver"] == "hook"]
        assert of_hook["id"] == hook.got[0].headers["webhook-id"] and of_hook["said"] == "204 No Content"
        shown = await asyncio.to_thread(gate.command, "notify", "show", str(of_hook["id"]))
        assert "enrols.csv" in shown
        await asyncio.to_thread(gate.command, "notify", "resend", str(of_hook["id"]))
        await until(lambda: len(hook.got) == 2, "it is sent again")
        assert hook.got[1].headers["webhook-id"] == of_hook["id"]
        for words in (("notify", "list"), ("notify", "receivers"), ("notify", "show", str(of_hook["id"]))):
            text = await asyncio.to_thread(gate.command, *words)
            assert "secret-token" not in text and HMAC_KEY not in text
        log = gate.log.read_text(encoding="utf-8")
        assert "secret-token" not in log and HMAC_KEY not in log
        assert await asyncio.to_thread(gate.stop) == 0


@pytest.mark.promise("P8")
async def test_whoever_is_killed(tmp_path: Path, hook: Hook, mail: MailServer) -> None:
    """The follower and the notifier are killed again and again: each file is told, under one id each."""
    with gate_with(tmp_path, rules(tmp_path, hook, mail).replace('"admins", "script", "senders"', "")) as gate:
        await asyncio.to_thread(gate.start)
        await follows(gate)
        names = [f"file{number}.csv" for number in range(6)]
        for number, name in enumerate(names):
            await send(gate, name)
            victim = notifier_of(gate) if number % 2 else gate.follower()
            if victim is not None and number < 4:
                os.kill(victim, signal.SIGKILL)

        def told() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for got in hook.got:
                for event in json.loads(got.body)["data"]["events"]:
                    found.setdefault(event.get("path", ""), set()).add(got.headers["webhook-id"])
            return found

        await until(lambda: set(names) <= set(told()), "each file is told of")
        assert {name: len(ids) for name, ids in told().items()} == dict.fromkeys(names, 1)


async def test_tests_and_receivers_that_are_off(tmp_path: Path, hook: Hook, mail: MailServer) -> None:
    """A test says what the receiver said and by its exit status whether it was taken; a reload starts and ends the notifier."""
    text = rules(tmp_path, hook, mail)
    with gate_with(tmp_path, "") as gate:
        await asyncio.to_thread(gate.start)
        assert notifier_of(gate) is None
        (tmp_path / "sftpgate.toml").write_text(text, encoding="utf-8")
        gate.hang_up()
        await until(lambda: notifier_of(gate), "a reload starts it")
        assert "queued as 4711" in await asyncio.to_thread(gate.command, "notify", "test", "admins")
        assert "sent" in await asyncio.to_thread(gate.command, "notify", "test", "senders", "--user", "erp")
        assert "thanks" in await asyncio.to_thread(gate.command, "notify", "test", "script")
        hook.answers.append(notified.status(401, "who are you"))
        done = await asyncio.to_thread(gate.attempt, "notify", "test", "hook")
        assert done.returncode == 1 and "who are you" in done.stdout
        for words in (("test", "nobody"), ("resend", "01"), ("resume", "nobody"), ("show", "01")):
            assert (await asyncio.to_thread(gate.attempt, "notify", *words)).returncode == 5, words
        assert (await asyncio.to_thread(gate.attempt, "notify", "list", "--state", "sendt")).returncode == 6
        await follows(gate)
        hook.answers.append(notified.status(410))
        await send(gate, "enrols.csv")
        await prints(gate, "turned_off", "audit", "--event", "notify.*")
        await until(lambda: any("Nothing is sent to hook" in got["Subject"] for got in mail.got), "the others are told")
        assert "off" in await asyncio.to_thread(gate.command, "notify", "receivers")
        await asyncio.to_thread(gate.command, "notify", "resume", "hook")
        count = len(hook.got)
        await send(gate, "users.csv")
        await until(lambda: len(hook.got) > count, "it is told again")
        (tmp_path / "sftpgate.toml").write_text("", encoding="utf-8")
        gate.hang_up()
        await until(lambda: notifier_of(gate) is None, "a reload ends it")


def test_a_rule_that_names_no_event(tmp_path: Path) -> None:
    """A server whose rules name an event that there is not does not start, and says which."""
    text = (
        f'[notify.to.a]\nurl = "https://x.example/"\nkeys = ["{HMAC_KEY}"]\n[notify.rules.r]\nevents = "arrival.hold"\nto = "a"\n'
    )
    with gate_with(tmp_path, text) as gate:
        done = gate.attempt("serve")
    assert done.returncode == 78
    assert "notify.rules.r.events: there is no event arrival.hold; did you mean arrival.held?" in done.stderr


def test_a_key(tmp_path: Path) -> None:
    """A key is made that the settings take, with the half that its receiver needs."""
    with gate_with(tmp_path, "") as gate:
        pair = json.loads(gate.command("notify", "key", "--json"))
        shared = json.loads(gate.command("notify", "key", "--shared", "--json"))
    assert pair["for_sftpgate.toml"].startswith("whsk_") and pair["for_the_receiver"].startswith("whpk_")
    assert shared["for_sftpgate.toml"].startswith("whsec_") and shared["for_the_receiver"] == shared["for_sftpgate.toml"]
