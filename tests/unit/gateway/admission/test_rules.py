"""Who has to go when there are too many."""

from __future__ import annotations

from sftpgate.gateway.admission.rules import PATIENCE_SECONDS, Limits, Stage, Visitor, Visitors


class World:
    """Visitors, and who was hung up on."""

    def __init__(self, **limits: int) -> None:
        usual = {"max_connections": 100, "max_unauthenticated": 4, "max_unauthenticated_per_address": 2}
        self.now = 0.0
        self.admission = Visitors(Limits(**(usual | limits)), lambda: self.now)
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
