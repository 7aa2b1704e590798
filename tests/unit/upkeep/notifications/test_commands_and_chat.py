"""Commands of this machine, and chat: what they get, and what becomes of one that hangs, fails or talks without end."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import ReceiverSettings
from sftpgate.upkeep.notifications.ways.chat import MISSING, Chat
from sftpgate.upkeep.notifications.ways.program import Program
from sftpgate.upkeep.notifications.wording import Reader
from tests.harness import notified
from tests.harness.notified import message, webhook

APPRISE = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
READER = Reader(language=Language.FRENCH, zone=UTC, gate="École")


async def run(*command: str, seconds: float = 10.0) -> Attempt:
    """Deliver a message to a command."""
    way = Program(ReceiverSettings(command=command, timeout=seconds), source="urn:x", gate="gate")
    return await asyncio.wait_for(way.deliver(message()), 20)


async def test_a_command_gets_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets the JSON on its input, none of our settings in its environment, and what it prints is kept."""
    monkeypatch.setenv("SFTPGATE_NOTIFY__MAIL__PASSWORD", "s3cret")
    attempt = await run("sh", "-c", f"cat > {tmp_path}/got; env > {tmp_path}/env; echo page sent")
    assert (attempt.verdict, attempt.said) == (Verdict.SENT, "exit status 0 page sent")
    assert json.loads((tmp_path / "got").read_text(encoding="utf-8"))["type"] == "sftpgate.arrival.quarantined"
    assert "s3cret" not in (tmp_path / "env").read_text(encoding="utf-8")


async def test_a_command_that_need_not_read() -> None:
    """A command that does not read its input has the message all the same."""
    assert (await run("true")).verdict is Verdict.SENT


async def test_a_command_that_fails() -> None:
    """A command that ends with another status than 0 is tried again, and its words are kept."""
    attempt = await run("sh", "-c", "echo no signal >&2; exit 3")
    assert (attempt.verdict, attempt.said) == (Verdict.LATER, "exit status 3 no signal")


async def test_a_command_that_is_not_there() -> None:
    """A command that cannot be started is said so."""
    attempt = await run("/nowhere/pager")
    assert attempt.verdict is Verdict.AWAY and "No such file" in attempt.said


async def test_a_command_that_hangs(tmp_path: Path) -> None:
    """A command that does not end is ended, with what it started, whatever it does about signals."""
    script = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/child; wait"
    attempt = await run("sh", "-c", script, seconds=1.0)
    assert attempt.verdict is Verdict.AWAY and "did not end within 1 s" in attempt.said
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("what it started runs on")


async def test_a_command_that_talks_without_end() -> None:
    """Of endless output the beginning is kept, and the time is bounded."""
    attempt = await run("sh", "-c", "yes", seconds=1.0)
    assert attempt.verdict is Verdict.AWAY
    attempt = await run(sys.executable, "-c", "print('x' * 10_000_000)")
    assert attempt.verdict is Verdict.SENT and len(attempt.said) <= 300


async def test_a_command_that_leaves_something_behind() -> None:
    """A command that starts a service in a session of its own, which keeps the pipe, has ended when it has ended."""
    attempt = await run("sh", "-c", "setsid sleep 5 & echo started", seconds=4.0)
    assert (attempt.verdict, attempt.said) == (Verdict.SENT, "exit status 0 started")


@APPRISE
async def test_chat_by_a_real_service() -> None:
    """A chat gets the message in its language, by Apprise's own way to a JSON service; one that refuses is tried again."""
    async with webhook() as hook:
        url = f"json://127.0.0.1:{hook.port}/room"
        way = Chat(ReceiverSettings(chat=SecretStr(url), timeout=10.0), READER)
        assert (await way.deliver(message())).verdict is Verdict.SENT
        [got] = hook.got
        said = json.loads(got.body)
        assert said["title"].startswith("[École] enrols.csv a échoué trop souvent") and "fichier" in said["message"]
        hook.answers.append(notified.status(500))
        assert (await way.deliver(message())).verdict is Verdict.LATER


@APPRISE
async def test_chat_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that Apprise does not know, and a machine without Apprise, are said, without the URL."""
    way = Chat(ReceiverSettings(chat=SecretStr("nonsense://t0ken@x")), READER)
    attempt = await way.deliver(message())
    assert attempt.verdict is Verdict.AWAY and "does not know" in attempt.said and "t0ken" not in attempt.said
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert (await way.deliver(message())).said == MISSING
