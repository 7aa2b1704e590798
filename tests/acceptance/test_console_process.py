"""The process of API and console: what guards every request, and that SFTP goes on whatever becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from sftpgate.web.headers import ALWAYS
from tests.harness.commands import run
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import until
from tests.harness.web import WebGate, serving


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebGate]:
    """A gate with pages."""
    with serving(tmp_path_factory.mktemp("gate")) as made:
        yield made


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/healthz", 200), ("/api/v1/openapi.json", 200), ("/nowhere", 404)])
def test_every_answer_has_the_headers(gate: WebGate, path: str, status: int) -> None:
    """Pages, documents and errors have the headers that keep browsers from what no page of ours asks for."""
    answer = gate.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
    assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in answer.headers and "server" not in answer.headers


def test_a_forged_request_is_refused(gate: WebGate) -> None:
    """What another site's page makes a browser send is answered 403, with the headers, whatever its path."""
    answer = gate.post("/", headers={"sec-fetch-site": "cross-site"})
    assert (answer.status_code, answer.headers.get("x-frame-options")) == (403, "DENY")
    assert gate.post("/", headers={"sec-fetch-site": "same-origin"}).status_code == 405


def test_nonsense_is_answered_and_nothing_more(gate: WebGate) -> None:
    """What is no HTTP, and headers of more than 32 KiB, get an error; the next client is served."""
    for nonsense in (b"\x16\x03\x01\x02\x00\n\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 70_000):
        with socket.create_connection(("127.0.0.1", gate.console_port), WAIT_SECONDS) as client:
            client.sendall(nonsense)
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert gate.get("/healthz").status_code == 200


def test_one_address_has_a_bounded_number_of_connections(gate: WebGate) -> None:
    """An address that opens connections without end has a hundred of them; the others are dropped, and health is answered."""
    clients = [socket.create_connection(("127.0.0.1", gate.console_port), WAIT_SECONDS) for _ in range(130)]
    process = psutil.Process(gate.console())
    try:
        until(lambda: sum(end.status == "ESTABLISHED" for end in process.net_connections("tcp")) <= 100, "the others are dropped")
    finally:
        for client in clients:
            client.close()
    until(lambda: not [end for end in process.net_connections("tcp") if end.status != "LISTEN"], "all are gone")
    assert gate.get("/healthz").status_code == 200


def test_killed_it_comes_back_and_sftp_does_not_notice(gate: WebGate) -> None:
    """The process is killed: a file is received meanwhile, and another process serves the same port."""
    before = gate.console()
    os.kill(before, signal.SIGKILL)
    (gate.directory / "a.csv").write_bytes(b"a\n1\n")
    assert gate.sftp("put a.csv\n").wait(WAIT_SECONDS) == 0
    gate.wait_for_pages()
    assert gate.console() != before


def test_a_reload_replaces_it(gate: WebGate) -> None:
    """At SIGHUP another process takes its place, which reads the settings anew; requests in between wait, and none fails."""
    before = gate.console()
    gate.hang_up()
    until(lambda: gate.get("/healthz").status_code == 200 and gate.console() != before, "there is another one")


def test_it_gives_way_and_is_bounded(gate: WebGate) -> None:
    """It has the processor when the workers leave it, no memory and descriptors without bound, and no core dump."""
    process = psutil.Process(gate.console())
    assert process.nice() == psutil.Process(gate.workers()[0]).nice() + 10 or process.nice() == 19
    assert process.rlimit(psutil.RLIMIT_DATA)[1] == 2 * 1024**3
    assert process.rlimit(psutil.RLIMIT_NOFILE)[1] <= 2048


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves no process behind, nor one that is told to end."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "told").mkdir()
    with serving(tmp_path / "killed") as gate:
        process = psutil.Process(gate.console())
        os.kill(gate.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)
    with serving(tmp_path / "told") as gate:
        process = psutil.Process(gate.console())
        assert gate.stop() == 0
        process.wait(WAIT_SECONDS)


def test_tls_by_files(tmp_path: Path) -> None:
    """With a certificate and its key the port speaks TLS, and browsers are told to keep to it."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "gate.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "gate.key")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = {"CONSOLE_TLS_CERTIFICATE": str(tmp_path / "gate.pem"), "CONSOLE_TLS_KEY": str(tmp_path / "gate.key")}
    with WebGate(tmp_path, **files) as gate:
        gate.start()

        def answer() -> httpx.Response | None:
            try:
                return httpx.get(f"https://127.0.0.1:{gate.console_port}/healthz", verify=context, timeout=WAIT_SECONDS)
            except httpx.ConnectError:
                return None

        until(lambda: answer() is not None, "TLS is spoken")
        served = answer()
        assert served is not None and served.status_code == 200
        assert served.headers["strict-transport-security"].startswith("max-age=")


def test_a_gate_without_the_extra_starts_and_says_so(tmp_path: Path) -> None:
    """If what API and console are made of is not installed, the gate serves SFTP, and its log says what to install."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python/sitecustomize.py").write_text(
        "import importlib.machinery as m\n"
        "found = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = classmethod(lambda c, name, path=None, target=None: None\n"
        "    if name.partition('.')[0] in ('fastapi', 'starlette', 'uvicorn') else found(name, path, target))\n",
        encoding="utf-8",
    )
    with WebGate(tmp_path, {"PYTHONPATH": str(tmp_path / "python")}) as gate:
        gate.start()
        (tmp_path / "a.csv").write_bytes(b"a\n1\n")
        assert gate.sftp("put a.csv\n").wait(WAIT_SECONDS) == 0
        assert gate.has_logged("console.not_installed", "pip install 'sftpgate[console]'")


def test_half_of_tls_is_an_error_of_the_settings(tmp_path: Path) -> None:
    """A certificate without its key ends the start with one line."""
    gate = WebGate(tmp_path)
    done = run("serve", env=gate.environment | {"SFTPGATE_CONSOLE_TLS_KEY": "gate.key"}, cwd=tmp_path, python=gate.python)
    assert done.returncode == 78
    assert b"belong together" in done.stderr
