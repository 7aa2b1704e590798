"""What a client is answered by OpenSSH's server and by ours: the same, or another thing for a reason that is written down
(docs/answers.md).

``SFTPGATE_WRITE_ANSWERS=1`` with this test writes the table of the document anew.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from docs.generate import ANSWERS, replaced
from tests.harness.gates import Gate
from tests.harness.raw import Raw
from tests.protocol.questions import QUESTIONS, Asked, only_looks
from tests.protocol.reasons import REASONS

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


@asynccontextmanager
async def openssh(directory: Path) -> AsyncIterator[Raw]:
    """A session with OpenSSH's server, in ``directory``, over a pipe."""
    process = await asyncio.create_subprocess_exec(
        SFTP_SERVER,
        "-d",
        directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    raw = Raw(cast(Any, None), cast(Any, process.stdin), cast(Any, process.stdout))
    await raw.begin()
    try:
        yield raw
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def answers(raw: Raw, top: str) -> dict[str, tuple[str, str]]:
    """What a server says to each question, and what is there afterwards."""
    found = {}
    shared = Asked(raw, "shared", top)
    await shared.prepare()
    before = await shared.tree()
    for number, (name, question) in enumerate(QUESTIONS.items()):
        asked = shared if only_looks(name) else Asked(raw, f"q{number}", top)
        if asked is not shared:
            await asked.prepare()
        said = ", ".join(await question(asked))
        found[name] = (said, before if asked is shared else await asked.tree())
    assert await shared.tree() == before
    return found


def table(theirs: dict[str, tuple[str, str]], ours: dict[str, tuple[str, str]]) -> str:
    """The rows that differ, with their reasons."""
    rows = ["| request | OpenSSH | sftpgate | why |", "| --- | --- | --- | --- |"]
    for name in QUESTIONS:
        if theirs[name] != ours[name]:
            them, us = (
                " → ".join(server[name]) if theirs[name][1] != ours[name][1] else server[name][0] for server in (theirs, ours)
            )
            rows.append(f"| {name.replace('|', chr(92) + '|')} | {them} | {us} | {REASONS.get(name, '?')} |")
    same = sum(theirs[name] == ours[name] for name in QUESTIONS)
    return f"{len(QUESTIONS)} requests, {same} answered alike.\n\n" + "\n".join(rows)


@pytest.mark.promise("P5")
@pytest.mark.skipif(not SFTP_SERVER.exists(), reason="OpenSSH's SFTP server is not installed: apt install openssh-sftp-server")
async def test_answers(gate: Gate, tmp_path: Path) -> None:
    """Whatever a client can ask is answered as OpenSSH's server answers it, and has the same effect, or the reason is written
    down.
    """
    async with openssh(tmp_path) as raw:
        theirs = await answers(raw, str(tmp_path))
    async with gate.raw() as raw:
        ours = await answers(raw, "/sync")
    found = table(theirs, ours)
    differing = {name for name in QUESTIONS if theirs[name] != ours[name]}
    if os.environ.get("SFTPGATE_WRITE_ANSWERS"):
        ANSWERS.write_text(replaced(ANSWERS.read_text(encoding="utf-8"), "answers", found), encoding="utf-8")
    assert differing == set(REASONS), found
    assert found in ANSWERS.read_text(encoding="utf-8")
    shutil.rmtree(tmp_path)
