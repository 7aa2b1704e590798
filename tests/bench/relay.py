"""A relay that delays: ``relay.py PORT TARGET_PORT SECONDS``, on loopback.

Any amount may be under way, as on a fast long line.
"""

from __future__ import annotations

import asyncio
import sys

HOST = "127.0.0.1"
CHUNK_BYTES = 256 * 1024


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(CHUNK_BYTES):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def _serve(port: int, target: int, seconds: float) -> None:
    pumps = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, target)
        for ends in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(_pump(*ends, seconds))
            pumps.add(pump)
            pump.add_done_callback(pumps.discard)

    async with await asyncio.start_server(accept, HOST, port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
