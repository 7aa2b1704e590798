"""The process of API and console. ``sftpgate serve`` starts it beside its workers, if ``console_port`` is set.

The supervisor owns its sockets: whoever asks while one process replaces another waits a moment. It is kept to the gate's
directories as a worker is, and cannot read the host keys. It yields the processor to those who serve SFTP, and has limits of
its own: if it is killed, or takes more memory than it may, the supervisor starts another one, and no SFTP session notices. It
ends with its supervisor.

A crash in the middle of a use case leaves what a crash of a command leaves there. What blocks runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import ssl
from collections.abc import Sequence

import uvicorn

from sftpgate.app.composition import build
from sftpgate.app.serving.sandbox_paths import Bounds, console_paths
from sftpgate.app.tools.pointers import LivePointers
from sftpgate.errors import SettingsError
from sftpgate.logs import get_logger
from sftpgate.settings.tree import Settings
from sftpgate.web.application import make_application
from sftpgate.web.connections import Addresses, protocol_class
from sftpgate.web.ground import Face, Ground

log = get_logger("console")

PARENT_SECONDS = 1.0  # how soon the end of the supervisor is seen
SANDBOX_EVERY = 10  # of these looks, one at the sandbox too
MAX_CONNECTIONS = 400  # at a time; who comes then is answered 503
MAX_HEADER_BYTES = 32 * 1024
KEEP_ALIVE_SECONDS = 15  # without a request
STOP_SECONDS = 3  # that requests have to end; below side_process.STOP_SECONDS
NICENESS = 10  # the workers go first
MAX_DESCRIPTORS = 2048  # above MAX_CONNECTIONS with two files each
MAX_MEMORY_BYTES = 2 * 1024**3  # far above what requests take, and below what would hurt a machine


def serve(settings: Settings, listeners: Sequence[socket.socket], parent: int, faces: Sequence[Face]) -> None:
    """Answer on these sockets until SIGTERM, or until ``parent`` is gone. Raises SettingsError and LedgerError."""
    if os.getppid() != parent:  # it ended while this process started, and the next one wants the port
        return
    limit_itself()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor too, which tells us
    signal.signal(signal.SIGTERM, lambda *_: None)  # the library has its own while it serves, and hands the signal on at its end
    tls = _tls(settings)
    site = build(settings, pointers=LivePointers(settings))
    bounds = Bounds(settings, console_paths)
    bounds.set()
    ground = Ground(site=site)
    server = uvicorn.Server(_config(settings, ground, faces, tls))
    try:
        asyncio.run(_serve(server, listeners, parent, bounds))
    finally:
        ground.threads.close()
        site.close()


def limit_itself() -> None:
    """Give way to the workers, and let this process have no more descriptors and memory than it needs."""
    os.nice(NICENESS)
    for what, most in ((resource.RLIMIT_NOFILE, MAX_DESCRIPTORS), (resource.RLIMIT_DATA, MAX_MEMORY_BYTES)):
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.console_tls_certificate is None or settings.console_tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.console_tls_certificate, settings.console_tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"console_tls_certificate, console_tls_key: {reason}; both are PEM files without a password that the server can read"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def _config(settings: Settings, ground: Ground, faces: Sequence[Face], tls: ssl.SSLContext | None) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").disabled = True  # what clients do wrong is not worth a line; the rest is logged by us
    proxies = settings.console_proxies
    return uvicorn.Config(
        make_application(ground, faces),
        http=protocol_class(Addresses(proxies)),
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=[str(network) for network in proxies],
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )


async def _serve(server: uvicorn.Server, listeners: Sequence[socket.socket], parent: int, bounds: Bounds) -> None:
    host, port = listeners[0].getsockname()[:2]
    log.info("console.ready", address=host, port=port, pid=os.getpid(), tls=server.config.is_ssl)
    watching = asyncio.create_task(_watch(server, parent, bounds))
    try:
        await server.serve(list(listeners))
    finally:
        watching.cancel()


async def _watch(server: uvicorn.Server, parent: int, bounds: Bounds) -> None:
    """Let the server end when this process has to: its supervisor is gone, or another process has to take over because this
    one's sandbox does not fit any more.
    """
    looks = 0
    while not server.should_exit:
        await asyncio.sleep(PARENT_SECONDS)
        looks += 1
        stale = looks % SANDBOX_EVERY == 0 and await asyncio.to_thread(bounds.is_stale)
        if os.getppid() != parent or stale:
            server.should_exit = True
