"""The use cases of the application, called as a web page or an API would call them: no command line, and an actor of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sftpgate.app import arrivals, audit, bans, upkeep
from sftpgate.app.composition import build
from sftpgate.app.depot import changes, listing
from sftpgate.app.runs import claims
from sftpgate.app.tools.listing import list_tools, show_tool
from sftpgate.app.users import accounts, former_users, host_keys, keys, records
from sftpgate.app.users.access import Access
from sftpgate.depot.depot import depot_path
from sftpgate.errors import AlreadyExists, ClaimLost, NotFound, Refused, UnknownArrival, UnknownTool, UnknownUser
from sftpgate.ledger.audit.actor import SYSTEM, Actor, Role
from sftpgate.ledger.audit.event_log import Wanted
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from tests.harness.senders import Senders

ALICE = Actor(Role.COMMAND, "alice")
LEASE = timedelta(minutes=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One tool, in a directory of its own."""
    tools = {"enrols": {"file": "enrols.csv", "command": ["cat", "{file}"]}}
    values = {"data_dir": tmp_path / "data", "keys_dir": tmp_path / "keys", "durability": "relaxed", "tools": tools}
    return Settings.model_validate({**values, "settle_seconds": 0})


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    """An opened site, as a server has it."""
    opened = build(settings)
    yield opened
    opened.close()


def put(site: Site, content: bytes = b"a\n1\n") -> str:
    """Put a file for the tool into the store; return the arrival's id."""
    return changes.put(site, ALICE, io.BytesIO(content), "enrols.csv").id


def public_key() -> str:
    """Return a fresh public key, as somebody sends it."""
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.promise("P8")
def test_each_change_has_the_actor_who_asked_for_it(site: Site, tmp_path: Path) -> None:
    """Who put a file into the store, claimed it and ended the claim is on the record, whoever runs the process."""
    identifier = put(site)
    held = claims.take(site, ALICE, "enrols", lease=LEASE)
    assert held is not None and held.arrival.id == identifier
    (tmp_path / "report").write_text("all well\n")
    with (tmp_path / "report").open("rb") as report:
        ended = claims.end(site, ALICE, held.token, RunOutcome.DONE, report=report)
    assert ended.finished.arrival.state is ArrivalState.DONE and ended.finished.report
    known = arrivals.history(site.ledger, identifier)
    assert {str(event.actor) for event in known.events} == {str(ALICE)}
    assert [run.tool for run in known.runs] == ["enrols"]


def test_a_claim_that_is_over_is_lost(site: Site) -> None:
    """A claim is extended and given back by its name, and not after that."""
    identifier = put(site)
    held = claims.take(site, ALICE, "enrols", lease=LEASE)
    assert held is not None and claims.take(site, ALICE, "enrols", lease=LEASE) is None
    assert claims.is_claim(site.ledger, held.token) and not claims.is_claim(site.ledger, identifier)
    assert claims.extend(site, ALICE, held.token, 2 * LEASE) > held.lease_until
    assert claims.release(site, ALICE, held.token).state is ArrivalState.WAITING
    with pytest.raises(ClaimLost):
        claims.extend(site, ALICE, held.token, LEASE)
    with pytest.raises(UnknownTool):
        claims.take(site, ALICE, "nothing", lease=LEASE)


def test_arrivals_are_found_and_decided_about(site: Site) -> None:
    """A search says whether there is more; what is not in the state that the caller saw is left alone."""
    identifier = put(site)
    changes.put(site, ALICE, io.BytesIO(b"x"), "other.csv")
    assert [item.path for item in arrivals.find(site.ledger, limit=1).arrivals] == ["other.csv"]
    assert arrivals.find(site.ledger, limit=1).has_more and not arrivals.find(site.ledger, limit=2).has_more
    assert arrivals.find(None, limit=1).arrivals == []
    with pytest.raises(Refused):
        arrivals.discard(site, ALICE, identifier, only=ArrivalState.QUARANTINED)
    assert arrivals.discard(site, ALICE, identifier).state is ArrivalState.DISCARDED
    with pytest.raises(Refused):
        arrivals.release(site, ALICE, identifier)
    with pytest.raises(UnknownArrival):
        arrivals.discard(site, ALICE, "nothing")
    assert arrivals.quarantined(site.ledger) == []


def test_the_store_is_listed_and_changed(site: Site) -> None:
    """Entries have their tool and the arrival that waits there; a move and a removal say which one that was."""
    identifier = put(site)
    changes.make_directory(site, ALICE, "north")
    top = {entry.name: entry for entry in listing.entries(site.settings, site.ledger, depot_path(""))}
    assert top["enrols.csv"].tools == ["enrols"] and top["enrols.csv"].arrival == identifier
    moved = changes.move(site, ALICE, "enrols.csv", "north", force=True)
    assert moved.arrival is not None and moved.path == moved.arrival.path == "north/enrols.csv"
    assert [entry.path for entry in listing.find(site.settings, None, depot_path(""), name="enrols*")] == ["north/enrols.csv"]
    assert "north" in [entry.path for entry in listing.tree(site.settings, None, depot_path("")).entries]
    removed = changes.remove(site, ALICE, "north/enrols.csv")
    assert removed is not None and removed.id == identifier


def test_tools_are_listed_with_what_waits(site: Site) -> None:
    """A listing counts what waits for a tool, and the details name it."""
    put(site)
    assert [(tool.tool, tool.waiting) for tool in list_tools(site)] == [("enrols", 1)]
    assert [item.path for item in show_tool(site, "enrols").waiting] == ["enrols.csv"]
    with pytest.raises(UnknownTool):
        show_tool(site, "nothing")


def test_bans_are_made_and_taken_back(site: Site) -> None:
    """A banned address is listed until it is let in; a network that users come from is never banned."""
    source = bans.require_bannable(site.settings, "203.0.113.7")
    bans.ban(site, ALICE, source, reason="tries passwords")
    assert [ban.source for ban in bans.banned(site.ledger, datetime.now(UTC))] == [source]
    bans.let_in(site, ALICE, source)
    with pytest.raises(NotFound):
        bans.let_in(site, ALICE, source)
    with pytest.raises(Refused):
        bans.require_bannable(site.settings, "nowhere")


@pytest.mark.promise("P8")
def test_an_act_without_events_is_put_on_the_record(site: Site) -> None:
    """What a face does to users or keys is on the record with its actor, and the head of the record moves."""
    before = audit.head(site.ledger)
    audit.put_on_record(site.ledger, ALICE, "console.user.disable", {"name": "erp"}, at=site.clock(), keys=site.settings.keys_dir)
    assert audit.head(site.ledger)[0] == before[0] + 1
    with audit.search(site.ledger, Wanted(event="console.*")) as found:
        assert [(str(record.event.actor), record.event.details) for record in found] == [(str(ALICE), {"name": "erp"})]


def test_users_and_keys(site: Site) -> None:
    """A user is made, limited and listed; one key takes the place of another; a revoked one is not accepted again."""
    access = Access(site.settings, ALICE)
    first, second = (keys.public_key(public_key(), "a file", access.terms) for _ in range(2))
    user = accounts.add(access, "erp", keys=[first], home="north").user
    with pytest.raises(AlreadyExists):
        accounts.add(access, "erp")
    limited = accounts.set_quotas(access, "erp", {"max_pending_files": "7"})
    assert records.quota_record(access, limited).own_quotas == ["max_pending_files"]
    assert [record.state for record in records.list_users(access, records.last_uses(site.ledger))] == ["active"]
    rotated = keys.rotate(access, "erp", keys.replaceable(user, "", access.terms), second, overlap=timedelta(days=7))
    assert rotated.added.fingerprint == second.fingerprint and rotated.ends > datetime.now(UTC)
    revoked = keys.revoke(access, keys.key_of_somebody(access, first.fingerprint))
    assert revoked.is_new and revoked.owners == ["erp"] and not keys.revoke(access, first).is_new
    listed = records.list_keys(access, {}, "erp")
    assert {key.fingerprint: key.state for key in listed} == {first.fingerprint: "revoked", second.fingerprint: "active"}
    assert keys.remove(access, "erp", first.fingerprint).fingerprint == first.fingerprint
    with pytest.raises(UnknownUser):
        accounts.set_password(access, "nobody", "a long enough password")
    assert not former_users.has_anything(access, "erp")


def test_a_user_is_kept_out_let_in_and_removed(site: Site, tmp_path: Path) -> None:
    """A user is disabled, enabled and removed, and what it has sent is parted from the next one of its name."""
    access = Access(site.settings, ALICE)
    (tmp_path / "keys.d").mkdir()
    (tmp_path / "keys.d" / "erp").write_text(public_key() + "\n", encoding="ascii")
    [imported] = accounts.import_from(access, tmp_path / "keys.d")
    assert imported.imported.new_user and imported.parted == former_users.NOTHING
    accounts.disable(access, "erp")
    assert [record.state for record in records.list_users(access, {})] == ["disabled"]
    assert not accounts.enable(access, "erp").disabled
    Senders(site).send("erp", "enrols.csv", b"a\n1\n")
    assert former_users.require_estate(access, "erp").waiting == 1
    assert accounts.remove(access, "erp").former == "erp~1"
    assert accounts.add(access, "erp").parted == former_users.NOTHING
    with pytest.raises(UnknownUser):
        former_users.require_estate(access, "nobody")


@pytest.mark.promise("P8")
def test_changes_of_users_are_on_the_record(site: Site) -> None:
    """What somebody who is no command changes about users, keys, bans and host keys is on the record, in that name."""
    access = Access(site.settings, SYSTEM)
    key = keys.public_key(public_key(), "a file", access.terms)
    accounts.add(access, "erp", keys=[key])
    accounts.set_password(access, "erp", "a long enough password")
    keys.remove(access, "erp", key.fingerprint)
    bans.ban(site, SYSTEM, "203.0.113.7")
    host_keys.begin_rotation(site.settings, SYSTEM, timedelta(days=1))
    accounts.disable(Access(site.settings, ALICE), "erp")
    with audit.search(site.ledger, Wanted(event="*")) as found:
        events = [record.event.event for record in found]
    assert events[-5:] == ["user.added", "user.password_set", "key.removed", "address.banned", "host_keys.rotation_begun"]


def test_host_keys_and_their_rotation(settings: Settings) -> None:
    """A rotation shows the keys in use beside the next ones, until these take over."""
    with pytest.raises(NotFound):
        host_keys.host_keys(settings)
    host_keys.begin_rotation(settings, ALICE, timedelta(days=1))
    assert {key.state for key in host_keys.host_keys(settings, "sftp.example.org", 22)} == {"in use", "next"}
    host_keys.finish_rotation(settings, ALICE)
    assert {key.state for key in host_keys.host_keys(settings)} == {"in use"}
    with pytest.raises(Refused):
        host_keys.finish_rotation(settings, ALICE)


def test_a_sweep_a_check_and_a_prune_by_hand(site: Site) -> None:
    """A sweep takes what lies in the drop, and disk and ledger agree after it."""
    (site.layout.drop / "enrols.csv").write_bytes(b"a\n1\n")
    swept = upkeep.sweep(site, ALICE)
    assert swept is not None and swept.taken == 1
    assert upkeep.ledger_problem(site.settings) is None
    assert list(upkeep.verify(site.settings, content=True)) == []
    assert list(upkeep.plan_prune(site)) == [] and not any(upkeep.prune(site, ALICE).values())


def test_no_use_case_imports_a_command_line() -> None:
    """All modules of the application are imported without Typer and rich: a server that has no command line runs them."""
    code = (
        "import importlib, pkgutil, sys, sftpgate.app\n"
        "for module in pkgutil.walk_packages(sftpgate.app.__path__, 'sftpgate.app.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'sftpgate.app.arrivals' in sys.modules\n"
        "assert not {'typer', 'rich', 'click'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
