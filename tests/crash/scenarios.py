"""What is interrupted: each scenario is what was before, a ``yield``, and the acts that are stopped at each operation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

from sftpgate.app.composition import make_retention
from sftpgate.errors import AppendRefused, SftpgateError, SharedUpload
from tests.crash.world import RESUME, World

Scenario = Callable[[World], Iterator[None]]

SCENARIOS: dict[str, Scenario] = {}

OLD, NEW, THIRD = b"old,1\nold,2\n", b"new,1\nnew,2\n", b"third,1\n"
LOCK, OTHER_LOCK = b"locked\n", b"locked too\n"
CUT_OFF = b"x" * 32768  # full writes only, no newline at the end: what an aborted client leaves
ONE_SECOND = (1_700_000_000 * 10**9, 1_700_000_000 * 10**9)
LARGE = b"0123456789abcde\n" * 80_000  # gets its note while it is written


GOOD_ROWS, BETTER_ROWS, BAD_ROWS = b"uid;name\nu1;a\n", b"uid;name\nu1;a\nu2;b\n", b"u1;a\nu2;b\nu3;c\n"

LATIN_ROWS = "uid;name\nu1;Zoé\n".encode("cp1252")

WITH_CONTRACTS: set[Scenario] = set()


def scenario_with_contract(function: Scenario) -> Scenario:
    """Register a scenario in which a tool, a queue, has a contract."""
    WITH_CONTRACTS.add(function)
    return scenario(function)


def scenario(function: Scenario) -> Scenario:
    """Register a scenario under its name."""
    SCENARIOS[function.__name__] = function
    return function


@scenario
def publish_new(world: World) -> Iterator[None]:
    """The first file of a name."""
    yield
    world.publish("new.csv", NEW)


@scenario
def publish_first_of_user(world: World) -> Iterator[None]:
    """The first file of a user: its staging directory is made."""
    world.publish("a.csv", OLD)
    yield
    world.publish("b.csv", NEW, user="other")


@scenario
def publish_into_directory(world: World) -> Iterator[None]:
    """A file in a new subdirectory."""
    yield
    world.make_directory("sub")
    world.publish("sub/new.csv", NEW)


@scenario
def publish_large(world: World) -> Iterator[None]:
    """A file that had a note before it was closed."""
    yield
    world.publish_noted("large.csv", LARGE)


@scenario
def publish_together(world: World) -> Iterator[None]:
    """Three files that close at the same time, two of them of one name."""
    yield
    world.publish_together(("a.csv", OLD), ("a.csv", NEW), ("b.csv", THIRD))


@scenario
def publish_one_after_the_other(world: World) -> Iterator[None]:
    """Files whose directories are flushed for both, with the rows of the first cleared by the third."""
    yield
    world.publish("a.csv", OLD)
    world.publish("b.csv", NEW)
    world.system.journal.flush_names()
    world.publish("c.csv", THIRD)


@scenario
def take_at_once(world: World) -> Iterator[None]:
    """A file that is replaced, and one that is claimed, before their directories were flushed."""
    yield
    world.publish("x.csv", OLD)
    world.publish("x.csv", NEW)
    world.publish("y.csv", THIRD)
    world.done(world.claim("y.csv"))


@scenario
def replace(world: World) -> Iterator[None]:
    """A newer file takes the place of a waiting one."""
    world.publish("x.csv", OLD)
    yield
    world.publish("x.csv", NEW)


@scenario
def replace_alike(world: World) -> Iterator[None]:
    """The same where both have the same size and time: an export of one second, with its time kept."""
    world.publish("x.csv", OLD, times_ns=ONE_SECOND)
    yield
    world.publish("x.csv", NEW, times_ns=ONE_SECOND)


@scenario
def replace_twice(world: World) -> Iterator[None]:
    """Two newer files, one after the other, in the minute in which the first was archived."""
    world.publish("x.csv", OLD)
    yield
    world.publish("x.csv", NEW)
    world.publish("x.csv", THIRD)


@scenario
def replace_unknown(world: World) -> Iterator[None]:
    """A file takes the name of one that somebody put into the store."""
    world.put_into_store("x.csv", OLD)
    yield
    world.publish("x.csv", NEW)


@scenario
def overwrite_ignored(world: World) -> Iterator[None]:
    """A file under a name that is never taken is written over."""
    world.publish("x.csv.tmp", OLD)
    yield
    world.publish("x.csv.tmp", NEW, drops=(OLD,))


@scenario
def queue(world: World) -> Iterator[None]:
    """Files that wait behind an earlier one of their name."""
    world.publish("queue.csv", OLD)
    yield
    world.publish("queue.csv", NEW)
    world.publish("queue.csv", THIRD)


@scenario
def batch_lock(world: World) -> Iterator[None]:
    """A set of files under a batch lock, which is then removed."""
    yield
    world.publish("alock.txt", LOCK)
    world.publish("a.csv", OLD)
    world.publish("a.csv", NEW)
    world.publish("b.csv", THIRD)
    world.remove("alock.txt", LOCK)


@scenario
def a_batch_lock_each(world: World) -> Iterator[None]:
    """Two senders of one directory, each with a lock under the same name, and a file that it holds."""
    yield
    world.publish("alock.txt", LOCK)
    world.publish("alock.txt", OTHER_LOCK, user="other")
    world.publish("a.csv", OLD)
    world.publish("b.csv", NEW, user="other")
    world.remove("alock.txt", LOCK)
    world.remove("alock.txt", OTHER_LOCK, user="other")


@scenario
def batch_over_waiting(world: World) -> Iterator[None]:
    """A set that is released over a file that waits already."""
    world.publish("a.csv", OLD)
    world.publish("alock.txt", LOCK)
    world.publish("a.csv", NEW)
    yield
    world.remove("alock.txt", LOCK)


@scenario
def suspect(world: World) -> Iterator[None]:
    """A doubtful file is held, then released over one that waits."""
    world.publish("x.csv", OLD)
    yield
    held = world.publish("x.csv", CUT_OFF)
    world.release(held)


@scenario
def suspect_superseded(world: World) -> Iterator[None]:
    """A doubtful file is held, then sent again."""
    world.publish("x.csv", CUT_OFF)
    yield
    world.publish("x.csv", CUT_OFF + b"y\n")


@scenario
def companion(world: World) -> Iterator[None]:
    """A doubtful file is proven by its checksum file."""
    world.publish("x.csv", CUT_OFF)
    yield
    world.publish("x.csv.sha256", f"{hashlib.sha256(CUT_OFF).hexdigest()}  x.csv\n".encode())


@scenario
def rename_arrival(world: World) -> Iterator[None]:
    """A waiting file gets another name."""
    world.publish("a.csv", OLD)
    yield
    world.rename("a.csv", "b.csv")


@scenario
def rename_over_older(world: World) -> Iterator[None]:
    """A waiting file takes the name of one that came before it."""
    world.publish("b.csv", OLD)
    world.publish("a.csv", NEW)
    yield
    world.rename("a.csv", "b.csv", replacing=True)


@scenario
def rename_over_newer(world: World) -> Iterator[None]:
    """A waiting file takes the name of one that came after it."""
    world.publish("a.csv", OLD)
    world.publish("b.csv", NEW)
    yield
    world.rename("a.csv", "b.csv", replacing=True)


@scenario
def rename_chain(world: World) -> Iterator[None]:
    """Two waiting files change names one after the other."""
    world.publish("a.csv", OLD)
    world.publish("b.csv", NEW)
    yield
    world.rename("b.csv", "c.csv")
    world.rename("a.csv", "b.csv")


@scenario
def rename_temporary(world: World) -> Iterator[None]:
    """A file is sent under a temporary name and gets its final one."""
    yield
    world.publish("x.csv.tmp", NEW)
    world.rename("x.csv.tmp", "x.csv")


@scenario
def rename_temporary_over(world: World) -> Iterator[None]:
    """The same where an earlier file waits."""
    world.publish("x.csv", OLD)
    world.publish("x.csv.tmp", NEW)
    yield
    world.rename("x.csv.tmp", "x.csv", replacing=True)


@scenario
def rename_away(world: World) -> Iterator[None]:
    """A waiting file gets a name that is never taken."""
    world.publish("x.csv", NEW)
    yield
    world.rename("x.csv", "_x.csv")


@scenario
def rename_in_queue(world: World) -> Iterator[None]:
    """The head of a queue gets another name, and the next one comes up."""
    world.publish("queue.csv", OLD)
    world.publish("queue.csv", NEW)
    yield
    world.fail(world.claim("queue.csv"))
    world.rename("queue.csv", "other.csv")


@scenario
def withdraw(world: World) -> Iterator[None]:
    """A waiting file is removed by its sender."""
    world.publish("x.csv", NEW)
    yield
    world.remove("x.csv", NEW)


@scenario
def withdraw_queue(world: World) -> Iterator[None]:
    """A whole queue is removed by its sender."""
    world.publish("queue.csv", OLD)
    world.publish("queue.csv", NEW)
    yield
    world.remove("queue.csv", OLD, NEW)


@scenario
def withdraw_held(world: World) -> Iterator[None]:
    """A held file is removed by its sender."""
    world.publish("x.csv", CUT_OFF)
    yield
    world.remove("x.csv", CUT_OFF)


@scenario
def withdraw_and_send_again(world: World) -> Iterator[None]:
    """A file is removed and sent anew, as clients do that cannot replace."""
    world.publish("x.csv", OLD)
    yield
    world.remove("x.csv", OLD)
    world.publish("x.csv", NEW)


@scenario
def rename_directory(world: World) -> Iterator[None]:
    """A directory with waiting and ignored files gets another name."""
    world.make_directory("one")
    world.publish("one/a.csv", OLD)
    world.publish("one/b.tmp", NEW)
    yield
    world.rename("one", "two")


@scenario
def rename_directory_in_slices(world: World) -> Iterator[None]:
    """The same with more files than a slice has; then the old name is used again."""
    files = {"a.csv": OLD, "b.tmp": NEW, "c.csv": THIRD}
    world.make_directory("one")
    for name, content in files.items():
        world.publish(f"one/{name}", content)
    yield
    world.rename_directory("one", "two", files)
    world.make_directory("one")
    world.journal.paths.append([{LOCK: "one/d.csv"}])
    world.publish("one/d.csv", LOCK)


@scenario
def sweep(world: World) -> Iterator[None]:
    """Files that other programs put into the drop are taken, one of them over a waiting one."""
    world.publish("a.csv", OLD)
    world.put_local("a.csv", NEW)
    world.put_local("b.csv", THIRD)
    yield
    world.sweep()


@scenario
def sweep_after_consumer(world: World) -> Iterator[None]:
    """A plain program took the head of a queue; the sweep brings up the next."""
    world.publish("queue.csv", OLD)
    world.publish("queue.csv", NEW)
    world.take_from_store("queue.csv", OLD)
    yield
    world.sweep()


@scenario
def rename_local(world: World) -> Iterator[None]:
    """A user renames a file that another program put into the drop."""
    world.put_local("a.tmp", OLD)
    yield
    world.rename("a.tmp", "a.csv")


@scenario
def truncate(world: World) -> Iterator[None]:
    """A waiting file is cut to a size."""
    world.publish("x.csv", OLD)
    yield
    world.truncate("x.csv", OLD, 6)


@scenario
def append(world: World) -> Iterator[None]:
    """A waiting file is continued: on a copy, which takes its place."""
    world.publish("x.csv", OLD)
    yield
    world.append("x.csv", OLD, NEW)


@scenario
def append_twice(world: World) -> Iterator[None]:
    """A file of a queue is appended to, and again."""
    world.publish("queue.csv", OLD)
    world.publish("queue.csv", THIRD)
    yield
    world.append("queue.csv", THIRD, NEW)
    world.append("queue.csv", THIRD + NEW, NEW)


@scenario
def append_that_breaks(world: World) -> Iterator[None]:
    """An append breaks off, is resumed, and is finished."""
    world.publish("x.csv", OLD)
    yield
    world.break_append("x.csv", OLD, NEW, 5)
    world.journal.extended[OLD] = OLD + NEW
    with world.journal.act(removes=(OLD,)):
        world.resume("x.csv", OLD + NEW)


@scenario
def append_to_what_a_tool_takes(world: World) -> Iterator[None]:
    """An append breaks off before a tool takes its file, and nothing of it comes back."""
    world.publish("x.csv", OLD)
    yield
    world.break_append("x.csv", OLD, NEW, 5)
    claim = world.claim("x.csv")
    with contextlib.suppress(AppendRefused):
        world.break_append("x.csv", OLD, NEW, 5)
    world.done(claim)


@scenario
def chunks(world: World) -> Iterator[None]:
    """A file is sent in chunks by two handles, which are refused, and then as a whole."""
    world.publish("x.csv", OLD)
    yield
    first = world.open("x.csv", RESUME)
    with world.sending(first, NEW):
        second = world.open("x.csv", RESUME)
        with world.sending(second, OLD[:6] + NEW[6:]):
            world.write(first, NEW[:6])
            world.write(second, NEW, start=6)
            world.system.staging.note(second)
    for upload in (first, second):
        try:
            with contextlib.suppress(SharedUpload):
                world.commit(upload)
        except SftpgateError:
            world.end_session(second)
            raise
    world.publish("x.csv", THIRD)


@scenario
def reopen(world: World) -> Iterator[None]:
    """A file that waits is opened again, and closed as it was."""
    arrival = world.publish("x.csv", OLD)
    yield
    assert world.open_and_close("x.csv") == arrival


@scenario
def interrupt_and_resume(world: World) -> Iterator[None]:
    """An upload breaks off, is resumed, breaks off, and is finished."""
    yield
    world.interrupt("x.csv", LARGE, 100_000)
    world.interrupt("x.csv", LARGE, 300_000, RESUME)
    world.resume("x.csv", LARGE)


@scenario
def interrupt_and_send_again(world: World) -> Iterator[None]:
    """An upload breaks off and is sent anew from the start."""
    world.interrupt("x.csv", LARGE, 100_000)
    yield
    world.publish("x.csv", NEW)


@scenario
def claim_and_archive(world: World) -> Iterator[None]:
    """A runner takes a file, and a new one comes meanwhile; both are processed."""
    world.publish("x.csv", OLD)
    yield
    first = world.claim("x.csv")
    world.publish("x.csv", NEW)
    world.done(first)
    world.done(world.claim("x.csv"))


@scenario
def claim_in_queue(world: World) -> Iterator[None]:
    """A runner drains a queue."""
    world.publish("queue.csv", OLD)
    world.publish("queue.csv", NEW)
    yield
    world.done(world.claim("queue.csv"))
    world.done(world.claim("queue.csv"))


@scenario
def claim_and_give_back(world: World) -> Iterator[None]:
    """A run fails twice and its file goes to quarantine."""
    world.publish("x.csv", OLD)
    yield
    world.fail(world.claim("x.csv"))
    world.fail(world.claim("x.csv"))


@scenario
def die_with_a_claim(world: World) -> Iterator[None]:
    """A runner dies with its claim, and the sweep brings the file back."""
    world.publish("x.csv", OLD)
    world.claim("x.csv")
    world.die()
    yield
    world.sweep()
    world.done(world.claim("x.csv"))


@scenario
def replace_while_claimed(world: World) -> Iterator[None]:
    """A newer file comes while a runner has the older one, whose run then fails."""
    world.publish("x.csv", OLD)
    claim = world.claim("x.csv")
    yield
    world.publish("x.csv", NEW)
    world.fail(claim)


@scenario
def tell_senders(world: World) -> Iterator[None]:
    """Receipts are written while files come, are held, are taken by a tool that fails once, and are replaced."""
    world.publish("x.csv", OLD)
    yield
    world.tell()
    world.fail(world.claim("x.csv"))
    world.publish("y.csv", CUT_OFF)
    world.tell()
    world.done(world.claim("x.csv"))
    world.publish("z.csv", NEW)
    world.publish("z.csv", THIRD)
    world.tell()


@scenario
def prune(world: World) -> Iterator[None]:
    """Archives, reports, a quarantined file and records beyond their time go, and what waits stays."""
    world.publish("x.csv", OLD)
    world.publish("x.csv", NEW)
    world.done(world.claim("x.csv"))
    world.publish("bad.csv", CUT_OFF + b"\n")
    for _ in range(2):
        world.fail(world.claim("bad.csv"))
    world.publish("y.csv", THIRD)
    world.tell()  # years before anything is pruned, which waits for followers for some months only
    yield
    world.wait(days=400)
    with world.journal.act(removes=(OLD, NEW, CUT_OFF + b"\n")):
        retention = make_retention(world.system)
        retention.prune()
    world.wait(days=1000)
    retention.prune()


@scenario_with_contract
def contract(world: World) -> Iterator[None]:
    """A good file and a bad one come; both are judged, and the good one goes to its tool."""
    yield
    world.publish("agreed.csv", GOOD_ROWS)
    world.publish_held("agreed.csv", BAD_ROWS)
    world.done(world.claim("agreed.csv"))


@scenario_with_contract
def convert(world: World) -> Iterator[None]:
    """A text in another encoding comes, and is converted; its tool runs on it."""
    world.publish("texts.csv", LATIN_ROWS)
    yield
    world.convert(LATIN_ROWS, LATIN_ROWS.decode("cp1252").encode())
    world.done(world.claim("texts.csv"))


@scenario_with_contract
def approve(world: World) -> Iterator[None]:
    """A held file is approved, and a tool runs on it."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    yield
    world.approve(arrival, BAD_ROWS)
    world.done(world.claim("agreed.csv"))


@scenario_with_contract
def approve_behind_another(world: World) -> Iterator[None]:
    """A held file is approved while a good one of its queue waits."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    world.publish("agreed.csv", GOOD_ROWS)
    world.judge()
    yield
    world.approve(arrival, BAD_ROWS)
    world.done(world.claim("agreed.csv"))
    world.done(world.claim("agreed.csv"))


@scenario_with_contract
def approval_that_ends(world: World) -> Iterator[None]:
    """An approval ends before a tool has run: the file is held again, the next one of its queue comes up, and it is approved
    again.
    """
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    world.approve(arrival, BAD_ROWS)
    world.publish("agreed.csv", GOOD_ROWS)
    world.judge()
    world.let_approvals_end(BAD_ROWS)
    yield
    world.judge()
    world.done(world.claim("agreed.csv"))
    world.judge()
    world.approve(arrival, BAD_ROWS)


@scenario_with_contract
def approval_that_ends_unnoticed(world: World) -> Iterator[None]:
    """A runner comes when an approval has ended, and before anybody noticed."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    world.approve(arrival, BAD_ROWS)
    world.publish("agreed.csv", GOOD_ROWS)
    world.judge()
    world.let_approvals_end(BAD_ROWS)
    yield
    claim = world.claim("agreed.csv")
    assert claim.path.read_bytes() == GOOD_ROWS
    world.done(claim)


@scenario_with_contract
def die_with_an_approved_file(world: World) -> Iterator[None]:
    """A runner dies with an approved file; it comes back, and is run: it has had its run before the approval ended."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    world.approve(arrival, BAD_ROWS)
    world.claim("agreed.csv")
    world.die()
    yield
    world.sweep()
    world.done(world.claim("agreed.csv"))


@scenario_with_contract
def reject(world: World) -> Iterator[None]:
    """A held file is rejected."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    yield
    world.reject(arrival, BAD_ROWS)


@scenario_with_contract
def reject_after_an_approval(world: World) -> Iterator[None]:
    """An approved file that waits is rejected, and the next one of its queue comes up."""
    arrival = world.publish_held("agreed.csv", BAD_ROWS)
    world.approve(arrival, BAD_ROWS)
    world.publish("agreed.csv", GOOD_ROWS)
    world.judge()
    yield
    world.reject(arrival, BAD_ROWS)
    world.done(world.claim("agreed.csv"))
