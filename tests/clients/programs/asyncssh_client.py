"""The asyncssh client; see drivers/libraries.py for what it reads."""

import asyncio
import os
import sys

import asyncssh


async def do(sftp: asyncssh.SFTPClient, verb: str, *words: str) -> None:
    """One step."""
    match verb, words:
        case "put", (local, remote):
            await sftp.put(local, remote)
        case "putp", (local, remote):
            await sftp.put(local, remote, preserve=True)
        case "resume", (local, remote):
            offset = await sftp.getsize(remote) or 0
            print(f"resuming at {offset}")
            with open(local, "rb") as source:
                source.seek(offset)
                async with sftp.open(remote, "rb+") as target:
                    await target.seek(offset)
                    while data := source.read(32768):
                        await target.write(data)
        case "append", (local, remote):
            with open(local, "rb") as source:
                async with sftp.open(remote, "ab") as target:
                    while data := source.read(32768):
                        await target.write(data)
        case "get", (remote, local):
            await sftp.get(remote, local)
        case "stat", (remote,):
            print("size", await sftp.getsize(remote))
        case "list", (directory,):
            print(*await sftp.listdir(directory), sep="\n")
        case "rename", (old, new):
            await sftp.rename(old, new)
        case "remove", (remote,):
            await sftp.remove(remote)
        case "mkdir", (remote,):
            await sftp.mkdir(remote)
        case _:
            raise ValueError(verb)


async def main() -> None:
    """Connect, and do every step."""
    env = os.environ
    method = env["CLIENT_METHOD"]
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    connection = await asyncssh.connect(
        env["CLIENT_HOST"],
        int(env["CLIENT_PORT"]),
        username=env["CLIENT_USER"],
        password=None if method == "publickey" else env["CLIENT_PASSWORD"],
        client_keys=[env["CLIENT_KEY"]] if method == "publickey" else None,
        known_hosts=env["CLIENT_KNOWN_HOSTS"],
        preferred_auth=method,
        agent_path=None,
        config=None,
    )
    async with connection, connection.start_sftp_client() as sftp:
        for line in sys.stdin:
            await do(sftp, *line.rstrip("\n").split("\t"))


if __name__ == "__main__":
    asyncio.run(main())
