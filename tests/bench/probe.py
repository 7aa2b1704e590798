"""How late a busy server comes to a request that needs nothing: ``python -m tests.bench.probe PORT USER KEY TARGET``.

In a process of its own, so that it is not late itself because of other sessions. It opens one file, asks for its attributes at
a fixed pace until its standard input ends, and prints the seconds that each answer took, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import asyncssh

PACE_SECONDS = 0.005


async def main(port: int, user: str, key: str, target: str) -> None:
    """Ask until told to end."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    async with (
        asyncssh.connect(
            "127.0.0.1", port, username=user, client_keys=[key], known_hosts=None, config=None, agent_path=None
        ) as connection,
        connection.start_sftp_client() as session,
        session.open(f"{target}/probe.csv", "wb") as file,
    ):
        print("ready", flush=True)
        end = loop.run_in_executor(None, sys.stdin.read)
        while not end.done():
            start = time.perf_counter()
            await file.stat()
            took.append(time.perf_counter() - start)
            await asyncio.sleep(PACE_SECONDS)
        await file.write(b"a\n")
    print(json.dumps(took))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:5]))
