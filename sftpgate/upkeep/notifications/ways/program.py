"""A command of this machine: it gets the message as JSON on its standard input, and says by its exit status that it has it.

It runs as the user of the gate, in a process group of its own, which is ended with it when the time is over. Of its output the
beginning is kept, to be shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence

from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.notify import ReceiverSettings
from sftpgate.upkeep.notifications.cloud_events import body_of
from sftpgate.upkeep.notifications.ways.way import on_one_line

_SHOWN_BYTES = 2000  # of its output; the rest is read and dropped, so that it does not wait for us
_LAST_WORDS_SECONDS = 0.5  # what it printed is here after its end, unless something that it started keeps the pipe
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")  # our settings and their secrets are not its business


class Program:
    """One receiver that is a command."""

    def __init__(self, settings: ReceiverSettings, *, source: str, gate: str) -> None:
        self._settings = settings
        self._source = source
        self._gate = gate

    async def deliver(self, message: Message) -> Attempt:
        """Run it once."""
        body = body_of(message, self._source, self._gate)
        printed = bytearray()
        async with _collecting(printed) as (output, collected):
            try:
                process = await _start(self._settings.command, body, output)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                return Attempt(verdict=Verdict.AWAY, said=on_one_line(f"cannot be started: {why}"))
            finally:
                os.close(output)
            try:
                async with asyncio.timeout(self._settings.timeout):
                    status = await process.wait()
            except TimeoutError:
                return Attempt(verdict=Verdict.AWAY, said=f"it did not end within {self._settings.timeout:g} s, and was ended")
            finally:
                await _end(process)
            await asyncio.wait([collected], timeout=_LAST_WORDS_SECONDS)
        said = on_one_line(f"exit status {status} {printed.decode('utf-8', 'replace')}")
        return Attempt(verdict=Verdict.SENT if status == 0 else Verdict.LATER, said=said)

    async def close(self) -> None:
        """Nothing is kept open."""


async def _start(command: Sequence[str], body: bytes, output: int) -> asyncio.subprocess.Process:
    """Start the command, with ``body`` as its input. Raises OSError and ValueError."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    message = os.memfd_create("message")
    try:
        os.pwrite(message, body, 0)
        return await asyncio.create_subprocess_exec(
            *command, stdin=message, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    finally:
        os.close(message)


@contextlib.asynccontextmanager
async def _collecting(printed: bytearray) -> AsyncIterator[tuple[int, asyncio.Task[None]]]:
    """Yield the end of a pipe for a command to print to, whose beginning goes into ``printed``, and what reads the pipe."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )
    collected = asyncio.create_task(_collect(reader, printed))
    try:
        yield writing, collected
    finally:
        transport.close()  # whoever still has the other end prints to nobody
        collected.cancel()
        await asyncio.wait([collected])


async def _collect(reader: asyncio.StreamReader, printed: bytearray) -> None:
    while block := await reader.read(65536):
        printed += block[: _SHOWN_BYTES - len(printed)]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
