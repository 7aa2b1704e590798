"""A real server in front of a consumer that sweeps its store under ``lock.txt``, in other processes than the senders."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.servers import Gate, until
from tests.harness.stock_consumer import StockConsumer

VERSIONS = 30  # those that wait come up one a second


@pytest.mark.promise("P1", "P3")
async def test_no_version_is_lost_or_halved(tmp_path: Path) -> None:
    """One name is uploaded as fast as it goes, by two sessions over two workers, while the consumer copies and unlinks
    pass after pass: it gets every version once, whole, and each session's in their order.
    """
    with Gate(
        tmp_path, HANDOVER="lock.txt", CONSUMER_INTERVAL="0", WORKERS="2", DURABILITY="relaxed", SWEEP_INTERVAL="1s"
    ) as gate:
        gate.start()
        consumer = StockConsumer(gate.data / "store")
        over = threading.Event()

        def consume() -> None:
            while not over.is_set():
                consumer.sweep()
                over.wait(0.002)  # a pass that never ends would leave no moment without its lock

        sweeping = threading.Thread(target=consume)
        sweeping.start()
        try:
            sent: list[bytes] = []
            connections = [await gate.connect() for _ in range(2)]
            clients = [await connection.start_sftp_client() for connection in connections]
            for number in range(VERSIONS):
                content = b"%d,%06d\n" % (number % 2, number) * 2000
                async with clients[number % 2].open("enrols.csv", "wb") as file:
                    await file.write(content)
                sent.append(content)
            for connection in connections:
                connection.close()
                await connection.wait_closed()
            until(lambda: len(consumer.taken) >= VERSIONS, "the consumer has every version")
        finally:
            over.set()
            sweeping.join()
        assert sorted(consumer.contents) == sorted(sent)
        for session in (b"0", b"1"):
            assert [content for content in consumer.contents if content.startswith(session)] == [
                content for content in sent if content.startswith(session)
            ]
        until(lambda: {row.state for row in gate.rows("enrols.csv")} == {ArrivalState.TAKEN}, "the sweep has noticed all")
        assert gate.stop() == 0
        gate.command("verify")
