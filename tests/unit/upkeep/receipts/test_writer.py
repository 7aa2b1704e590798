"""Receipts: what is said of a file, in what order, and that it is never said twice or left out."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sftpgate.app.composition import make_retention
from sftpgate.depot.approvals import reject
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import feed
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.retention import KeptKind
from sftpgate.upkeep.receipts.writer import Receipts
from sftpgate.users.host_keys.rotation import begin_rotation, finish_rotation
from sftpgate.users.host_keys.signatures import allowed_signers, verify
from tests.harness.receipts import Reader, make_receipts, reader, write_all
from tests.harness.runners import World, shell

MakeWorld = Callable[..., World]
ROWS = 'printf \'{"rows": 2, "accepted": 1, "rejected": [{"line": 2, "reason": "no such course"}]}\' > "$SFTPGATE_RESULT"'

WAITING = ("received", "waiting", False, "wait")


def following(make_world: MakeWorld, **tools: dict[str, object]) -> tuple[World, Receipts, Reader]:
    """A world with tools, whose receipts are written when a test says so."""
    world = make_world(**(tools or {"a": shell("exit 0")}))
    return world, make_receipts(world.system), reader(world.system)


def mismatch(world: World, path: str = "a.csv") -> Arrival:
    """A file whose checksum file speaks of another content."""
    world.send(f"{path}.sha256", hashlib.sha256(b"other").hexdigest().encode())
    return world.send(path, b"content\n")


def test_received_and_processed(make_world: MakeWorld) -> None:
    """A file has a receipt when it has come and one when its tool has taken it; each names the one before, and its record."""
    world, receipts, read = following(make_world)
    item = world.send("a.csv")
    write_all(receipts)
    assert read.states() == [WAITING]
    world.pass_over()
    write_all(receipts)
    assert read.states() == [WAITING, ("processed", "accepted", True, "none")]
    first, second = read.numbered()
    assert (first["previous"], first["number"], second["number"]) == (None, 1, 2)
    name = f"a.csv.{item.id}.1-received.json"
    assert second["previous"] == hashlib.sha256(read.read(name)).hexdigest()
    assert (second["size"], second["sha256"]) == (item.size, item.sha256)
    assert (second["path"], second["user"], second["receipt"]) == ("a.csv", "erp", f"a.csv.{item.id}.2-processed.json")
    assert second["run"]["tool"] == "a" and second["run"]["report"] in [p.name for p in (world.store / "reports").iterdir()]
    assert second["text"]["fr"].startswith("L'outil a pris le fichier.")
    assert read.receipt("a.csv.json") == second
    assert str(world.directory) not in read.read("a.csv.json").decode()


def test_what_is_never_taken_has_none(make_world: MakeWorld) -> None:
    """Temporary names, companions and batch locks have no receipts; a file has them from when it gets its name."""
    world, receipts, read = following(make_world)
    world.send("a.csv.tmp")
    world.send("a.csv.sha256", b"x")
    write_all(receipts)
    assert read.names() == []


def test_rejected_rows(make_world: MakeWorld) -> None:
    """Rows that the tool did not take are listed with their lines, and the sender is to correct them."""
    world, receipts, read = following(make_world, a=shell(ROWS))
    world.send("a.csv")
    world.pass_over()
    write_all(receipts)
    assert read.states()[-1] == ("processed", "accepted-with-errors", True, "fix")
    run = read.receipt("a.csv.json")["run"]
    assert (run["rows"], run["accepted"], run["rejected"]) == (2, 1, 1)
    assert run["rejected_rows"] == [{"line": 2, "reason": {"en": "no such course", "fr": "no such course"}}]
    assert run["tryback"] is not None


def test_a_tool_that_fails(make_world: MakeWorld) -> None:
    """Each failed attempt is said; the last one says that the file is set aside."""
    world, receipts, read = following(make_world, a=shell("exit 1", max_attempts=2))
    world.send("a.csv")
    for _ in range(2):
        world.clock.advance(minutes=1)
        world.pass_over()
    write_all(receipts)
    assert read.states() == [WAITING, ("processed", "failed", False, "wait"), ("quarantined", "failed", True, "fix")]


def test_the_platform_was_not_there(make_world: MakeWorld) -> None:
    """That the platform could not take a file is said once, however often it is tried."""
    world, receipts, read = following(make_world, a=shell("exit 75"))
    world.send("a.csv")
    for _ in range(3):
        world.clock.advance(hours=2)
        world.pass_over()
    write_all(receipts)
    assert read.states() == [WAITING, ("processed", "postponed", False, "wait")]


def test_held_and_released(make_world: MakeWorld) -> None:
    """A held file says why and what to do; when it goes on, that is said too."""
    world, receipts, read = following(make_world)
    item = mismatch(world)
    write_all(receipts)
    assert read.states() == [("held", "checksum-mismatch", False, "resend")]
    assert "a.csv.sha256" in read.receipt("a.csv.json")["text"]["en"]
    with world.system.journal.change() as change:
        world.system.placer.reconsider(change, change.get(item.id), release=True)
    write_all(receipts)
    assert read.states()[-1] == ("released", "waiting", False, "wait")


def test_replaced(make_world: MakeWorld) -> None:
    """The file that another one takes the place of is told so, and NAME.json is about the later one."""
    world, receipts, read = following(make_world)
    first, second = world.send("a.csv", b"1\n2\n"), world.send("a.csv", b"3\n4\n")
    write_all(receipts)
    assert read.receipt(f"a.csv.{first.id}.2-replaced.json")["final"] is True
    newest = max(read.numbered(), key=lambda each: each["record"]["number"])
    assert read.receipt("a.csv.json") == newest
    assert {each["arrival"] for each in read.numbered()} == {first.id, second.id}


def test_own_receipts_only(make_world: MakeWorld) -> None:
    """Nobody reads another user's receipts, not even by their full names; local programs have none."""
    world, receipts, read = following(make_world)
    item = world.send("a.csv")
    write_all(receipts)
    other = Reader(read.files, "other")
    assert other.names() == []
    assert read.files.content("other", f"a.csv.{item.id}.1-received.json") is None
    assert read.files.content("other", "a.csv.json") is None


def test_directories_are_those_of_the_drop(make_world: MakeWorld) -> None:
    """Receipts of files in directories lie in directories of the same names, however deep."""
    world, receipts, read = following(make_world)
    for path in ("a.csv", "x/a.csv", "x/y/b.csv", "z/c.csv"):
        world.send(path)
    write_all(receipts)
    assert [name for name in read.names() if "." not in name] == ["x", "z"]
    assert "y" in read.names("x") and "a.csv.json" in read.names("x")
    assert read.receipt("x/y/b.csv.json")["path"] == "x/y/b.csv"
    assert read.files.lookup("erp", "x/y") is not None
    assert read.files.lookup("erp", "x/q") is None
    assert read.files.lookup("erp", "x/y/q.csv.json") is None


def test_whoever_wants_none_has_none(make_world: MakeWorld) -> None:
    """A user without receipts gets none, and the others do."""
    world = make_world(a=shell("exit 0"))
    receipts = make_receipts(world.system, wants=lambda user: user != "erp")
    world.send("a.csv")
    world.send("b.csv", user="other")
    write_all(receipts)
    assert reader(world.system).names() == []
    assert reader(world.system, "other").states() == [WAITING]


def test_a_gate_without_receipts_keeps_no_events_for_them(make_world: MakeWorld) -> None:
    """When receipts are switched off, the follower leaves, and when they are on again it begins with what happens then."""
    world, receipts, read = following(make_world)
    receipts.leave()
    world.send("a.csv")
    with world.system.ledger.reading() as connection:
        assert feed.all_followers(connection) == []
    write_all(receipts)
    world.send("b.csv")
    write_all(receipts)
    assert [each["path"] for each in read.numbered()] == ["b.csv"]


@pytest.mark.promise("P8")
def test_signatures(make_world: MakeWorld, tmp_path: Path) -> None:
    """Each receipt is signed by the ed25519 host key as ssh-keygen has it; a changed byte is found, and a rotation keeps what was
    signed before it verifiable.
    """
    world, receipts, read = following(make_world)
    keys_dir = world.system.settings.keys_dir
    world.send("a.csv")
    write_all(receipts)
    begin_rotation(keys_dir, world.clock())
    assert finish_rotation(keys_dir)
    world.send("b.csv")
    write_all(receipts)
    read.download(tmp_path)
    (tmp_path / "allowed").write_text("\n".join(allowed_signers(keys_dir)) + "\n")
    assert len(allowed_signers(keys_dir)) == 2
    for name in ("a.csv.json", "b.csv.json"):
        body = (tmp_path / name).read_bytes()
        assert is_verified(tmp_path, name, body)
        assert not is_verified(tmp_path, name, body.replace(b'"erp"', b'"eve"'))
        verify(body, read.read(name + ".sig").decode())
        with pytest.raises(ValueError, match="changed"):
            verify(body + b" ", read.read(name + ".sig").decode())
    signers = {verify(read.read(name), read.read(name + ".sig").decode()) for name in ("a.csv.json", "b.csv.json")}
    assert len(signers) == 2


def is_verified(directory: Path, name: str, body: bytes) -> bool:
    """What ssh-keygen says of a receipt."""
    words = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "sftpgate", "-n", "sftpgate-receipt", "-s", f"{name}.sig"]
    return subprocess.run(words, input=body, cwd=directory, capture_output=True, check=False, timeout=20).returncode == 0


@pytest.mark.parametrize(
    "text", ["", "not a signature", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", "-" * 5000]
)
def test_no_signatures(text: str) -> None:
    """What is no signature is said to be none."""
    with pytest.raises(ValueError, match="signature"):
        verify(b"x", text)


def test_references(make_world: MakeWorld) -> None:
    """The first line of NAME.reference, sent before the file, comes back in its receipts, and in those of no other file."""
    world, receipts, read = following(make_world)
    world.send("a.csv.reference", "Bestellung 4711 ü \nmore".encode())
    first = world.send("a.csv")
    write_all(receipts)
    world.pass_over()
    second = world.send("a.csv", b"1\n2\n")
    write_all(receipts)
    found = {each["arrival"]: each["reference"] for each in read.numbered()}
    assert found == {first.id: "Bestellung 4711 ü", second.id: None}
    for content in (b"", b"\n", b"x" * 201, b"\xff", b"a\x07"):
        world.send("b.csv.reference", content)
        world.send("b.csv", content + b"1\n")
        write_all(receipts)
        assert read.receipt("b.csv.json")["reference"] is None


def test_many_at_once(make_world: MakeWorld) -> None:
    """More events than a batch has are all told, each once, and a second writer has nothing left to say."""
    world, receipts, read = following(make_world)
    for number in range(60):
        world.send(f"{number}.csv")
    write_all(receipts)
    assert len(read.numbered()) == 60
    write_all(make_receipts(world.system))
    assert len(read.numbered()) == 60


def test_a_file_in_quarantine_expires(tmp_path: Path) -> None:
    """What retention removes from quarantine is told to its sender as expired, once."""
    world = World(tmp_path, settings={"keep_quarantine": 3600.0}, a=shell("exit 1", max_attempts=1))
    receipts, read = make_receipts(world.system), reader(world.system)
    world.send("a.csv")
    world.pass_over()
    world.clock.advance(hours=2)
    world.send("b.csv")  # a change, after which the move to quarantine is known to be durable
    make_retention(world.system).prune()
    write_all(receipts)
    assert [state for state, *_ in read.states()] == ["received", "quarantined", "expired", "received"]
    world.close()


def test_receipts_are_kept_as_the_settings_say(tmp_path: Path) -> None:
    """Receipts that are too old, or too many, go, the oldest first; those of a file that still waits stay."""
    world = World(tmp_path, settings={"keep_receipts": 3600.0}, a=shell("exit 0"))
    receipts, read = make_receipts(world.system), reader(world.system)
    world.send("a.csv")
    world.pass_over()
    world.send("b.csv")
    write_all(receipts)
    world.clock.advance(hours=2)
    assert len([doomed for doomed in make_retention(world.system).plan() if doomed.kind == "receipts"]) == 2
    assert make_retention(world.system).prune()[KeptKind.RECEIPTS] == 2
    assert [each["path"] for each in read.numbered()] == ["b.csv"]
    world.close()


def test_an_administrator_rejects(make_world: MakeWorld) -> None:
    """A file that an administrator rejects is told so, with the reason in the administrator's words."""
    world, receipts, read = following(make_world)
    item = world.send("a.csv")
    with world.system.journal.change() as change:
        reject(change, world.system.placer, change.get(item.id), actor=command(), reason="wrong year")
    write_all(receipts)
    assert read.states()[-1] == ("rejected", "refused", True, "fix")
    assert "wrong year" in read.receipt("a.csv.json")["text"]["fr"]
