"""What a user has sent today and has pending, over restarts, days and open uploads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import QuotaExceeded, TooLarge
from sftpgate.uploads.terms import SessionTrace
from sftpgate.uploads.upload import Upload
from sftpgate.users.registry import UserRegistry
from tests.harness.handover import Gate


def opened(gate: Gate, path: str, *, truncate: bool = True, append: bool = False) -> Upload:
    """An upload that was opened as the gateway does it."""
    mode = OpenMode(create=True, truncate=truncate, exclusive=False, append=append)
    return gate.acts.opening.open(gate.sender(), path, mode, SessionTrace(), ())


def write(gate: Gate, upload: Upload, size: int, offset: int = 0) -> None:
    """So many bytes at a place."""
    upload.write(gate.system.disk, offset, b"x" * size)


def finish(gate: Gate, upload: Upload) -> None:
    """CLOSE."""
    [outcome] = gate.publisher.commit([upload])
    assert not isinstance(outcome, Exception), outcome


@pytest.fixture
def daily(make_gate: Any) -> Gate:
    """A gate with a limit of 100 bytes a day."""
    gate: Gate = make_gate(max_daily_bytes=100, free_space_floor=0)
    return gate


def test_a_day_is_filled_exactly(daily: Gate) -> None:
    """The rest of the day to the byte, and not one more; withdrawing gives nothing back, and the next day is new."""
    daily.put("x.csv", b"x" * 60)
    upload = opened(daily, "y.csv")
    write(daily, upload, 40)
    finish(daily, upload)
    daily.acts.remove(daily.sender(), "y.csv", ())
    with pytest.raises(QuotaExceeded, match=r"has sent 100 bytes today, the limit is 100: .* 00:00 UTC .*max_daily_bytes"):
        opened(daily, "z.csv")
    assert daily.acts.limits.left("erp").free_bytes == 0
    daily.acts.rename(daily.sender(), "x.csv", "renamed.csv", replacing=False, uploads=())
    daily.acts.remove(daily.sender(), "renamed.csv", ())
    daily.clock.ahead = timedelta(days=1)
    write(daily, opened(daily, "z.csv"), 100)


def test_the_day_is_shared_and_survives(make_gate: Any, daily: Gate) -> None:
    """Another process, or one that starts later, sees what was sent; other users have their own day."""
    daily.put("x.csv", b"x" * 60)
    again = make_gate(max_daily_bytes=100, free_space_floor=0)
    with pytest.raises(QuotaExceeded, match="room for 40 bytes more today"):
        write(again, opened(again, "y.csv"), 41)
    assert again.acts.limits.left("erp").free_bytes == 40
    assert again.acts.limits.left("other").free_bytes == 100


def test_open_uploads_count_for_the_day(daily: Gate) -> None:
    """What is in staging is counted, and uploads that are open together share the rest, also where they see it anew."""
    first = opened(daily, "x.csv")
    second = opened(daily, "y.csv")  # the same room: nobody has written yet
    write(daily, first, 70)
    third = opened(daily, "z.csv")
    with pytest.raises(QuotaExceeded, match="room for 30 bytes"):
        write(daily, third, 31)
    daily.system.staging.interrupt(third)
    write(daily, second, 20)
    daily.acts.limits.look_again(second)
    write(daily, second, 10, offset=20)
    with pytest.raises(QuotaExceeded):
        write(daily, second, 1, offset=30)


def test_a_partial_is_not_counted_twice(daily: Gate) -> None:
    """An interrupted upload of 70 bytes can be resumed to 100, and no further."""
    first = opened(daily, "x.csv")
    write(daily, first, 70)
    daily.system.staging.interrupt(first)
    resumed = opened(daily, "x.csv", truncate=False)
    write(daily, resumed, 30, offset=70)
    with pytest.raises(QuotaExceeded):
        write(daily, resumed, 1, offset=100)


def test_appending_makes_a_new_arrival(daily: Gate) -> None:
    """What is appended to counts whole for the day, and once for what is pending."""
    daily.put("x.csv", b"x" * 40)
    longer = opened(daily, "x.csv", truncate=False, append=True)
    write(daily, longer, 20, offset=40)
    with pytest.raises(QuotaExceeded, match="max_daily_bytes"):
        write(daily, longer, 1, offset=60)
    daily.system.staging.discard(longer)
    daily.put("y.csv", b"y" * 40)
    with pytest.raises(QuotaExceeded, match="room for 20 bytes more today"):
        opened(daily, "x.csv", truncate=False, append=True)
    with pytest.raises(QuotaExceeded, match="max_daily_bytes"):
        daily.acts.truncate(daily.sender(), "x.csv", 21, ())
    daily.acts.truncate(daily.sender(), "x.csv", 20, ())


def test_pending_bytes_of_an_append(make_gate: Any) -> None:
    """An arrival that is appended to is replaced: it does not stand in its own way."""
    gate: Gate = make_gate(max_pending_bytes=100, free_space_floor=0)
    gate.put("x.csv", b"x" * 60)
    longer = opened(gate, "x.csv", truncate=False, append=True)
    write(gate, longer, 40, offset=60)
    gate.acts.limits.look_again(longer)
    with pytest.raises(QuotaExceeded, match="max_pending_bytes"):
        write(gate, longer, 1, offset=100)


def test_quotas_of_a_users_own(make_gate: Any, tmp_path: Any) -> None:
    """They hold for the next upload, and for one that is open when it looks again; other users have the gate's."""
    gate: Gate = make_gate(max_upload_bytes=1000, free_space_floor=0)
    registry = UserRegistry(tmp_path / "keys")
    registry.add("erp")
    upload = opened(gate, "x.csv")
    write(gate, upload, 500)
    registry.set_quotas("erp", {"max_upload_bytes": "1KB", "max_pending_files": 2, "max_daily_bytes": 600})
    small = opened(gate, "y.csv")
    with pytest.raises(QuotaExceeded, match="max_daily_bytes"):
        write(gate, small, 101)
    gate.system.staging.interrupt(small)
    registry.set_quotas("erp", {"max_upload_bytes": 502, "max_daily_bytes": None})
    gate.acts.limits.look_again(upload)
    write(gate, upload, 2, offset=500)
    with pytest.raises(TooLarge):
        write(gate, upload, 1, offset=502)
    gate.put("z.csv")
    with pytest.raises(QuotaExceeded, match=r"the limit is 2 .*max_pending_files"):
        opened(gate, "y.csv")
    assert gate.acts.limits.left("other").total_files == gate.system.settings.max_pending_files


def test_many_workers_do_not_each_take_what_is_left(make_gate: Any) -> None:
    """What a process answers without looking is its part: four that open uploads within a second open as many as one."""
    gates = [make_gate(max_pending_files=9, workers=4, free_space_floor=0) for _ in range(4)]
    opened_by = [0] * len(gates)
    for number in range(24):
        try:
            opened(gates[number % 4], f"{number}.csv")
        except QuotaExceeded:
            continue
        opened_by[number % 4] += 1
    assert sum(opened_by) == 9
