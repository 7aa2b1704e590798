"""A gate with API and console on a port, and a client for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, free_port, until, words_of


class WebGate(Gate):
    """A gate that serves API and console."""

    def __init__(self, directory: Path, environment: dict[str, str] | None = None, /, **settings: str) -> None:
        self.console_port = free_port()
        super().__init__(directory, environment, CONSOLE_PORT=str(self.console_port), **settings)

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.console_port}"

    def console(self) -> int:
        """The process of API and console."""
        [pid] = [pid for pid in self.children() if "console" in words_of(pid)]
        return pid

    def get(self, path: str, **options: Any) -> httpx.Response:
        """The answer to a GET."""
        return httpx.get(self.url + path, timeout=WAIT_SECONDS, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """The answer to a POST."""
        return httpx.post(self.url + path, timeout=WAIT_SECONDS, **options)

    def wait_for_pages(self) -> None:
        """Return when pages are served."""
        until(self._is_served, "pages are served")

    def _is_served(self) -> bool:
        with suppress(httpx.HTTPError):
            return self.get("/healthz").status_code == httpx.codes.OK
        return False


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[WebGate]:
    """A gate that serves SFTP and pages, for the block."""
    with WebGate(directory, **settings) as gate:
        gate.start()
        gate.wait_for_pages()
        yield gate
