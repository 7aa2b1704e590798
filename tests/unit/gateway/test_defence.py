"""Who has to go when there are too many; PROXY headers; seats of several processes."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6, ProxyResultLocal
from proxyprotocol.v2 import ProxyProtocolV2

from sftpgate.errors import BadMessage
from sftpgate.gateway.defence import PATIENCE_SECONDS, Admission, Limits, Stage, Visitor
from sftpgate.gateway.proxy import MAX_V2_BYTES, client_of, read_header
from sftpgate.store.disk import Disk
from sftpgate.store.seats import Seats
from sftpgate.store.spots import Spot

V2 = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = (bytes([192, 0, 2, 7]), 4711)


class World:
    """Visitors, and who was hung up on."""

    def __init__(self, **limits: int) -> None:
        usual = {"max_connections": 100, "max_unauthenticated": 4, "max_unauthenticated_per_address": 2}
        self.now = 0.0
        self.admission = Admission(Limits(**(usual | limits)), lambda: self.now)
        self.dropped: list[str] = []

    def enter(self, name: str, address: str = "192.0.2.1", *, named: bool = False) -> Visitor:
        """A visitor that must be let in."""
        visitor = Visitor(address, lambda reason: self.dropped.append(f"{name}: {reason.rpartition('rule: ')[2]}"), named)
        assert self.admission.enter(visitor) is None
        return visitor


def test_a_new_stranger_takes_the_place_of_the_oldest_of_its_address() -> None:
    """An address that holds its share open loses the oldest, and others nothing."""
    world = World()
    world.enter("other", "192.0.2.9")
    for number in range(4):
        world.enter(str(number))
    assert world.dropped == ["0: max_unauthenticated_per_address)", "1: max_unauthenticated_per_address)"]
    assert (len(world.admission), world.admission.strangers) == (3, 3)


def test_who_stands_still_goes_before_who_comes_nearer() -> None:
    """Of one address the one that should have taken its next step goes, and not the one that is about to log in."""
    world = World(max_unauthenticated_per_address=3)
    first, second = world.enter("first"), world.enter("second")
    world.admission.progressed(first, Stage.SPEAKS)
    world.admission.progressed(second, Stage.SPEAKS)
    world.admission.progressed(first, Stage.ASKS)
    for number in range(3):
        world.enter(f"silent {number}")
    assert [line.partition(":")[0] for line in world.dropped] == ["silent 0", "silent 1"]
    world.now += PATIENCE_SECONDS[Stage.SPEAKS] + 0.1
    world.enter("newer")
    assert world.dropped[-1].startswith("silent 2")
    world.enter("newest")
    assert world.dropped[-1].startswith("second")


def test_a_crowd_of_honest_ones_stays_where_others_stand_still() -> None:
    """Sixty that come at once from one address lose nobody to a flood of connections that say nothing, from an address each."""
    world = World(max_unauthenticated=100, max_unauthenticated_per_address=80, max_connections=200)
    for number in range(100):
        world.enter(f"silent {number}", f"203.0.113.{number}")
    world.now += PATIENCE_SECONDS[Stage.CONNECTED] + 0.1
    for number in range(60):
        world.admission.progressed(world.enter(f"honest {number}", "198.51.100.1"), Stage.SPEAKS)
    assert len(world.dropped) == 60
    assert not [line for line in world.dropped if line.startswith("honest")]


def test_a_flood_that_logs_in_slowly_keeps_nobody_out() -> None:
    """Who holds every place by connections that got as far as a login loses them in time to who has just come."""
    world = World(max_unauthenticated=10, max_unauthenticated_per_address=10)
    for number in range(10):
        visitor = world.enter(str(number), "203.0.113.1")
        world.admission.progressed(visitor, Stage.ASKS)
    world.now += PATIENCE_SECONDS[Stage.ASKS] + 0.1
    for number in range(3):
        world.enter(f"honest {number}", "198.51.100.1")
    assert [line.partition(":")[0] for line in world.dropped] == ["0", "1", "2"]


def test_ipv6_addresses_of_one_network_share_their_part() -> None:
    """A /64 costs its owner nothing: its addresses count as one."""
    world = World()
    for number in range(3):
        world.enter(str(number), f"2001:db8::{number}")
    assert world.dropped == ["0: max_unauthenticated_per_address)"]


def test_when_all_places_are_taken_the_address_with_the_most_loses_one() -> None:
    """The limit in total falls on who opens most, not on who comes next."""
    world = World()
    world.enter("lonely", "192.0.2.9")
    for name in ("a", "b"):
        world.enter(name, "192.0.2.1")
    world.enter("third", "192.0.2.8")
    world.enter("new", "192.0.2.7")
    assert world.dropped == ["a: max_unauthenticated)"]


def test_named_addresses_go_last() -> None:
    """A gate's own users, and a proxy of many, have no share of their own, and go after every stranger."""
    world = World()
    for number in range(3):
        world.enter(f"named {number}", "198.51.100.1", named=True)
    world.enter("stranger", "192.0.2.1")
    world.enter("next", "192.0.2.2")
    assert world.dropped == ["stranger: max_unauthenticated)"]
    for number in range(2):
        world.enter(f"named later {number}", "198.51.100.1", named=True)
    assert world.dropped[1:] == ["next: max_unauthenticated)", "named 0: max_unauthenticated)"]


def test_who_has_logged_in_keeps_its_place() -> None:
    """Where every connection is taken, strangers make room for each other, and nobody takes a user's."""
    world = World(max_connections=2)
    user = world.enter("user")
    world.admission.authenticated(user)
    stranger = world.enter("stranger")
    newer = world.enter("newer")
    assert world.dropped == ["stranger: max_unauthenticated)"]
    world.admission.authenticated(newer)
    refused = Visitor("192.0.2.3", lambda _: None)
    assert world.admission.enter(refused) == "too many connections (rule: max_connections)"
    for gone in (stranger, user, user, refused):
        world.admission.leave(gone)
    assert world.admission.visitors() == [newer]
    assert world.admission.strangers == 0


def test_a_login_at_the_moment_of_having_to_go_stands() -> None:
    """Who was hung up on and has logged in meanwhile counts as a user, and makes room for nobody."""
    world = World(max_unauthenticated=1, max_connections=2)
    crossing = world.enter("crossing")
    stranger = world.enter("stranger", "192.0.2.2")
    assert world.dropped == ["crossing: max_unauthenticated)"]
    world.admission.authenticated(crossing)
    assert (len(world.admission), world.admission.strangers) == (2, 1)
    world.admission.authenticated(stranger)
    assert world.admission.enter(Visitor("192.0.2.3", lambda _: None)) == "too many connections (rule: max_connections)"


def test_lower_limits_hold_from_the_next_visitor_on() -> None:
    """After a reload, as many go as are too many; users stay."""
    world = World(max_unauthenticated_per_address=4)
    user = world.enter("user")
    world.admission.authenticated(user)
    for number in range(4):
        world.enter(str(number))
    world.admission.limits = Limits(max_connections=3, max_unauthenticated=2, max_unauthenticated_per_address=1)
    world.enter("next", "192.0.2.9")
    assert [line[0] for line in world.dropped] == ["0", "1", "2"]
    assert (len(world.admission), world.admission.strangers) == (3, 2)


# -- PROXY -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 22\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (ProxyProtocolV2().pack(ProxyResultLocal()), None),
    ],
)
def test_headers(header: bytes, client: str | None) -> None:
    """What proxies send names the client, or says that there is none to name."""
    assert client_of(header) == client


def test_headers_of_version_2() -> None:
    """Addresses of both families are read, with whatever a proxy adds behind them."""
    from ipaddress import IPv4Address, IPv6Address

    four = ProxyResultIPv4((IPv4Address("192.0.2.7"), 4711), (IPv4Address("198.51.100.1"), 22), protocol=socket.SOCK_STREAM)
    six = ProxyResultIPv6((IPv6Address("2001:db8::7"), 4711), (IPv6Address("2001:db8::1"), 22), protocol=socket.SOCK_STREAM)
    assert client_of(ProxyProtocolV2().pack(four)) == "192.0.2.7"
    assert client_of(ProxyProtocolV2().pack(six)) == "2001:db8::7"


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 22\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +4711 22\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 \x1b]0;x\x07 198.51.100.1 1 2\r\n",
        b"PROXY \r\n",
        V2 + b"\x21\x11\0\x01x",
        V2 + b"\x21\x11\0\0",
        V2 + b"\x31\x11\0\x0c" + bytes(12),
        V2 + b"\x2f\x11\0\x0c" + bytes(12),
    ],
)
def test_malformed_headers(header: bytes) -> None:
    """A header that is not exactly one is refused, never guessed."""
    with pytest.raises(BadMessage):
        client_of(header)


@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: V2 + b), st.binary().map(lambda b: b"PROXY " + b))
)
@example(V2 + b"\x21\x31\0\xd8" + bytes([255]) * 216)
def test_no_header_breaks_the_reader(header: bytes) -> None:
    """Whatever comes is an address, none, or BadMessage."""
    with contextlib.suppress(BadMessage):
        client_of(header)


async def _read(sent: bytes, *, end: bool = True) -> tuple[str | None, bytes]:
    """What ``read_header`` finds in what a proxy sent, and what it leaves."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(sent)
        if end:
            theirs.shutdown(socket.SHUT_WR)
        client = await read_header(ours)
        return client, ours.recv(1000)


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.7 1.1.1.1 1 2\r\n", V2 + struct.pack(">BBH12s", 0x21, 0x11, 12, CLIENT[0] * 3)]
)
async def test_what_follows_the_header_is_the_clients(header: bytes) -> None:
    """Not a byte behind the header is read."""
    assert await _read(header + b"SSH-2.0-x\r\n") == ("192.0.2.7", b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.7",
        b"PROXY " + b"x" * 200,
        V2,
        V2 + b"\x21\x11\xff\xff",
        V2 + struct.pack(">BBH", 0x21, 0x11, MAX_V2_BYTES + 1) + bytes(MAX_V2_BYTES + 1),
    ],
)
async def test_what_is_no_header(sent: bytes) -> None:
    """A client's own bytes, half a header, and one that is too long are refused."""
    with pytest.raises(BadMessage):
        await _read(sent)


# -- seats -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Spot]:
    """Where the locks of seats are."""
    yield Spot(tmp_path, "seats")


def test_seats_are_shared_by_processes(file: Spot) -> None:
    """What one process has taken, another one cannot; what a process leaves, or dies with, is free."""
    first, second = Seats(Disk(), file), Seats(Disk(), file)
    taken = [first.take("erp", 3), second.take("erp", 3), second.take("erp", 3)]
    assert None not in taken
    assert first.take("erp", 3) is None
    assert second.take("erp", 3) is None
    assert first.take("other", 3) is not None
    assert taken[0] is not None
    first.leave(taken[0])
    again = second.take("erp", 3)
    assert again is not None
    second.close()
    assert [first.take("erp", 3) is not None for _ in range(4)] == [True, True, True, False]
    first.close()


def test_seats_above_a_lower_limit_count(file: Spot) -> None:
    """After a reload that lowered the limit, what old processes have above it takes from what new ones may have."""
    old, new = Seats(Disk(), file), Seats(Disk(), file)
    taken = [seat for _ in range(6) if (seat := old.take("erp", 6)) is not None]
    for number in (0, 1, 3):
        old.leave(taken[number])
    assert new.take("erp", 3) is None
    old.leave(taken[4])
    assert [new.take("erp", 3) is not None for _ in range(2)] == [True, False]
    old.leave(taken[5])
    assert [new.take("erp", 3) is not None for _ in range(2)] == [True, False]
    assert old.take("other", 6) is not None
    old.close()
    assert new.take("erp", 3) is not None
    assert new.take("erp", 3) is None
    new.close()
