"""The hand-over against a model of plain lists: two users, a local program and a runner do what they like, in any order."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sftpgate.errors import AlreadyExists, NoSuchFile, OwnedByAnother, SftpgateError, StoreAway, TakenMeanwhile
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.runners.claims import Claim
from sftpgate.upkeep.verify import verify
from tests.crash.machine import Clock
from tests.crash.world import APPEND, RESUME, Journal, World

# Often the same user and the same names, or nothing would ever meet.
USERS = st.sampled_from(["erp", "erp", "erp", "other"])
PATHS = st.sampled_from(["queue.csv", "queue.csv", "a.csv", "a.csv", "b.csv", "a.csv.tmp", "_b.csv", "sub/c.csv"])
TOOLS = st.sampled_from(["queue", "other"])
LOOK_EVERY = 4  # acts: looking costs more than acting
LOCK = "alock.txt"
LOCAL = "local.csv"
IGNORED, HELD, WAITING, QUEUED, CLAIMED = (
    ArrivalState.IGNORED,
    ArrivalState.HELD,
    ArrivalState.WAITING,
    ArrivalState.QUEUED,
    ArrivalState.CLAIMED,
)


@dataclass(slots=True)
class Item:
    """What the model knows of an arrival. A claimed one is nobody's to see."""

    owner: str
    path: str
    content: bytes
    seq: int
    state: ArrivalState = IGNORED


class Model:
    """What must be where, in the words of the design: same name again, batch lock, queue."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.archived: Counter[bytes] = Counter()
        self.partials: dict[tuple[str, str], list[tuple[bytes, bytes]]] = {}  # what is there, and what it was going to be
        self.local: bytes | None = None
        self.directories = {""}
        self._seq = 0

    def new(self, owner: str, path: str, content: bytes) -> Item:
        """A complete file that has just come."""
        self._seq += 1
        return Item(owner, path, content, self._seq)

    def at(self, path: str) -> list[Item]:
        """The arrivals of a path, in order of arrival."""
        return sorted((item for item in self.items if item.path == path), key=lambda item: item.seq)

    def visible(self, user: str, path: str) -> Item | None:
        """The arrival that a user sees at a path."""
        mine = [item for item in self.at(path) if item.owner == user and item.state is not CLAIMED]
        return mine[-1] if mine else None

    def is_foreign(self, user: str, path: str) -> bool:
        """Whether a path is another user's. A batch lock is not: each has one."""
        return path != LOCK and any(item.owner not in (user, "") and item.state is not CLAIMED for item in self.at(path))

    def is_locked(self, owner: str) -> bool:
        """Whether a batch lock of this owner is there: it holds the files of nobody else."""
        return any(item.owner == owner for item in self.at(LOCK))

    def place(self, item: Item, path: str) -> None:
        """Put a file where it belongs under a path; what has to make way is archived, or dropped where it is never taken."""
        others = [other for other in self.at(path) if other is not item and (path != LOCK or other.owner == item.owner)]
        queue = path.startswith("queue")
        if path == LOCK or path.endswith(".tmp") or path.startswith("_"):
            state = IGNORED
        elif self.is_locked(item.owner):
            state = HELD
        else:
            state = QUEUED if queue and any(other.state in (WAITING, QUEUED, CLAIMED) for other in others) else WAITING
        for other in others:
            if other.state is CLAIMED or (state is not IGNORED and (queue or (state is HELD and other.state is not HELD))):
                continue
            self.items.remove(other)
            if state is not IGNORED:
                self.archived[other.content] += 1
        item.path, item.state = path, state
        if item not in self.items:
            self.items.append(item)

    def advance(self, path: str) -> None:
        """Bring up the next of a queue whose head is gone."""
        here = self.at(path)
        if not any(item.state in (WAITING, CLAIMED) for item in here):
            for item in [item for item in here if item.state is QUEUED][:1]:
                item.state = WAITING

    def release(self, owner: str) -> None:
        """The batch lock of this owner is gone."""
        held = [item for item in self.items if item.state is HELD and item.owner == owner]
        for item in sorted(held, key=lambda item: item.seq):
            self.place(item, item.path)


class HandOver(RuleBasedStateMachine):
    """Whatever users, a local program and a runner do, system and model agree after each act."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.base = Path(tempfile.mkdtemp(prefix="sftpgate-model-", dir=memory if os.access(memory, os.W_OK) else None))
        self.ahead = timedelta()  # what somebody set the clock by; the machine's uptime knows nothing of it
        clock = Clock()
        self.world = World(self.base, Journal(), clock, uptime=lambda: (clock() - self.ahead).timestamp())
        self.model = Model()
        self.claims: dict[str, tuple[Claim, Item]] = {}
        self._count = 0
        self._looks = 0

    def teardown(self) -> None:
        """Nothing is wrong at the end either."""
        self.world.system.journal.flush()
        assert verify(self.world.system.resources, self.world.system.journal, content=True) == []
        self.world.close()
        shutil.rmtree(self.base)

    def _content(self) -> bytes:
        self._count += 1
        return f"content,{self._count}\n".encode() * 3

    @contextlib.contextmanager
    def _raises(self, *expected: type[SftpgateError] | None) -> Iterator[None]:
        """The block raises the first of these that is not None, or nothing where there is none."""
        wanted = next((kind for kind in expected if kind is not None), None)
        try:
            yield
        except SftpgateError as error:
            assert wanted is not None and isinstance(error, wanted), f"{error!r}, expected {wanted}"
        else:
            assert wanted is None, f"nothing was raised, expected {wanted}"

    def _no_directory(self, path: str) -> type[SftpgateError] | None:
        return None if path.rpartition("/")[0] in self.model.directories else NoSuchFile

    def _foreign(self, user: str, path: str) -> type[SftpgateError] | None:
        return OwnedByAnother if self.model.is_foreign(user, path) and not self._sees(user, path) else None

    def _sees(self, user: str, path: str) -> bool:
        return (user, path) in self.model.partials or self.model.visible(user, path) is not None

    # -- what users do -----------------------------------------------------------------------------------------------

    @rule(user=USERS, path=PATHS, times=st.integers(1, 3))
    def upload(self, user: str, path: str, times: int) -> None:
        for _ in range(times):
            self._upload(user, path)

    def _upload(self, user: str, path: str) -> None:
        content = self._content()
        foreign = OwnedByAnother if self.model.is_foreign(user, path) else None
        refused_at_close = foreign and self._sees(user, path) and not self._no_directory(path)
        with self._raises(self._no_directory(path), foreign):
            self.world.publish(path, content, user=user)
        if refused_at_close:
            self.model.partials.setdefault((user, path), []).append((content, content))
        elif not foreign and not self._no_directory(path):
            self.model.partials.pop((user, path), None)
            self.model.place(self.model.new(user, path, content), path)

    @rule(user=USERS, path=PATHS, sent_bytes=st.integers(1, 20))
    def break_off(self, user: str, path: str, sent_bytes: int) -> None:
        content = self._content()
        refused = self._no_directory(path) or self._foreign(user, path)
        with self._raises(refused):
            self.world.interrupt(path, content, sent_bytes, user=user)
        if refused is None:
            self.model.partials.setdefault((user, path), []).append((content[:sent_bytes], content))

    @rule(user=USERS, path=PATHS)
    def append(self, user: str, path: str) -> None:
        """What waits, or is held or set aside, gets longer; it takes the place of what it was."""
        item = self.model.visible(user, path)
        if item is None or (user, path) in self.model.partials or self.model.is_foreign(user, path):
            return
        tail = self._content()
        self.world.append(path, item.content, tail, user=user)
        self.model.items.remove(item)
        self.model.place(self.model.new(user, path, item.content + tail), path)
        self.model.advance(path)

    @rule(user=USERS, path=PATHS)
    def two_append(self, user: str, path: str) -> None:
        """Two append at a time: the first to close is in it, and the other one is told."""
        item = self.model.visible(user, path)
        if item is None or (user, path) in self.model.partials or self.model.is_foreign(user, path):
            return
        late = self.world.open(path, APPEND, user)
        self.world.write(late, b"late\n")
        self.append(user, path)
        with self._raises(TakenMeanwhile):
            self.world.commit(late)

    @rule(user=USERS, path=PATHS)
    def reopen(self, user: str, path: str) -> None:
        """What is opened again and left as it was is no second arrival."""
        if self.model.visible(user, path) is not None and (user, path) not in self.model.partials:
            self.world.open_and_close(path, user=user)

    @rule(user=USERS, path=PATHS, order=st.permutations(range(3)))
    def send_in_chunks(self, user: str, path: str, order: list[int]) -> None:
        """Three handles at a time each have a part: nothing of it is published, whichever closes first."""
        refused = self._no_directory(path) or self._foreign(user, path)
        if refused or (user, path) in self.model.partials:
            return
        uploads = [self.world.open(path, RESUME, user) for _ in range(3)]
        for number, upload in enumerate(uploads):
            upload.write(self.world.system.disk, 6 * number, b"part,\n")
            self.world.system.staging.note(upload)
        for number in order:
            with self._raises(SftpgateError):
                self.world.commit(uploads[number])
        self.world.system.staging.remove_partials(user, path)

    @rule()
    def set_clock_back(self) -> None:
        """The clock is corrected; nothing that is older becomes newer by it."""
        self.world.clock.now -= timedelta(seconds=2)  # so that it stays ahead of the disk, whose stamps are quiet then

    @rule(ahead=st.sampled_from([timedelta(), timedelta(hours=1), timedelta(days=2), timedelta(days=800)]))
    def set_clock(self, ahead: timedelta) -> None:
        """Somebody sets the clock by an hour, by days or by years, and back: no lock is stale by it, no claim given away, no
        unfinished upload too old, and nothing kept for too long.
        """
        self.world.clock.now += ahead - self.ahead
        self.ahead = ahead
        self.world.system.resources.time.notice()
        self.world.wait(minutes=1)  # a local file is watched for as long as it has to settle, after the clock was set

    @rule(user=USERS, path=PATHS, tool=TOOLS, is_empty=st.booleans())
    def unmount_and_mount(self, user: str, path: str, tool: str, is_empty: bool) -> None:
        """The store goes away, whatever is at its place then; nothing is taken, changed or recorded until it is back."""
        store, away = self.base / "data/store", self.base / "data/away"
        rows = self.world.rows()
        store.rename(away)
        if is_empty:
            store.mkdir()
        for act in (
            lambda: self.world.publish(path, b"nowhere\n", user=user),
            lambda: self.world.remove(path, user=user),
        ):
            with self._raises(StoreAway):
                act()
        with contextlib.suppress(StoreAway):
            assert self.world.claims.take(tool) is None
        with contextlib.suppress(StoreAway):
            self.world.sweeper.run()
        if is_empty:
            store.rmdir()  # nothing was made in it
        away.rename(store)
        assert self.world.rows() == rows

    @rule(user=USERS, path=PATHS)
    def resume(self, user: str, path: str) -> None:
        if (user, path) not in self.model.partials:
            return
        _, content = self.model.partials[user, path][-1]
        foreign = OwnedByAnother if self.model.is_foreign(user, path) else None
        with self._raises(foreign):
            self.world.resume(path, content, user=user)
        if foreign:
            self.model.partials[user, path][-1] = (content, content)
        else:
            del self.model.partials[user, path]
            self.model.place(self.model.new(user, path, content), path)

    @rule(user=USERS)
    def rename_head(self, user: str) -> None:
        self.rename(user, "queue.csv", "a.csv")

    @rule(user=USERS, old=PATHS, new=PATHS)
    def rename_any(self, user: str, old: str, new: str) -> None:
        self.rename(user, old, new)

    def rename(self, user: str, old: str, new: str) -> None:
        if (user, old) in self.model.partials or (user, new) in self.model.partials:
            return  # an unfinished upload has rules of its own
        item = self.model.visible(user, old)
        foreign = OwnedByAnother if old != new and self.model.is_foreign(user, new) else None
        with self._raises(None if item else NoSuchFile, self._no_directory(new), foreign):
            self.world.rename(old, new, replacing=True, user=user)
        if item and old != new and not foreign and not self._no_directory(new):
            self.model.place(item, new)
            self.model.advance(old)

    @rule(user=USERS, path=PATHS)
    def remove(self, user: str, path: str) -> None:
        with self._raises(None if self._sees(user, path) else NoSuchFile):
            self.world.remove(path, user=user)
        self.model.partials.pop((user, path), None)
        mine = [item for item in self.model.at(path) if item.owner == user and item.state is not CLAIMED]
        self.model.items = [item for item in self.model.items if item not in mine]

    @rule(user=USERS)
    def make_directory(self, user: str) -> None:
        with self._raises(AlreadyExists if "sub" in self.model.directories else None):
            self.world.make_directory("sub", user=user)
        self.model.directories.add("sub")

    @rule(user=USERS)
    def lock(self, user: str) -> None:
        """Each user has a lock of its own under the same name."""
        content = self._content()
        self.world.publish(LOCK, content, user=user)
        self.model.place(self.model.new(user, LOCK, content), LOCK)

    @rule(user=st.sampled_from(["erp", "other"]))
    def unlock(self, user: str) -> None:
        """A user's lock holds its own files, until it is removed."""
        item = self.model.visible(user, LOCK)
        with self._raises(None if item else NoSuchFile):
            self.world.remove(LOCK, user=user)
        if item:
            self.model.items.remove(item)
            self.model.release(user)

    # -- what others do ----------------------------------------------------------------------------------------------

    @rule()
    def put_local(self) -> None:
        self.model.local = self._content()
        self.world.put_local(LOCAL, self.model.local)

    @rule()
    def sweep(self) -> None:
        result = self.world.sweep()
        assert result.failed == 0
        if self.model.local is not None:
            self.model.place(self.model.new("", LOCAL, self.model.local), LOCAL)
            self.model.local = None

    @rule(tool=TOOLS)
    def claim(self, tool: str) -> None:
        found = self.world.claims.take(tool)
        waiting = [item for item in self.model.items if item.state is WAITING and "/" not in item.path]
        fitting = [item for item in waiting if item.path.startswith("queue") == (tool == "queue")]
        if tool in self.claims or not fitting:
            assert found is None
            return
        assert found is not None
        self.world.held.append(found)
        item = min(fitting, key=lambda item: item.seq)
        assert found.path.read_bytes() == item.content
        item.state = CLAIMED
        self.claims[tool] = (found, item)

    @rule(tool=TOOLS)
    def done(self, tool: str) -> None:
        if tool in self.claims:
            claim, item = self.claims.pop(tool)
            self.world.done(claim)
            self.model.items.remove(item)
            self.model.archived[item.content] += 1
            self.model.advance(item.path)

    # -- what must hold ----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Nothing is there; the gate has swept once, as it does at its start, and knows the clock since then."""
        self.world.sweep()

    @invariant()
    def files_are_where_they_belong(self) -> None:
        """Store, queue, claims, archives and drop have what the model has, whole."""
        store = self.base / "data/store"
        model = self.model
        tops = ("archives", "reports", ".sftpgate")
        found = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
        waiting = {path: content for path, content in found.items() if path.partition("/")[0] not in tops}
        assert waiting == {item.path: item.content for item in model.items if item.state is WAITING}
        assert Counter(path.read_bytes() for path in (store / "archives").iterdir()) == model.archived
        for area, state in (("queue", QUEUED), ("claims", CLAIMED)):
            here = [path.read_bytes() for path in (store / ".sftpgate" / area).iterdir() if "." not in path.name]
            assert Counter(here) == Counter(item.content for item in model.items if item.state is state)
        managed = [path for area in ("held", "locks") for path in (store / ".sftpgate" / area).iterdir()]
        aside = [path.read_bytes() for path in managed if "." not in path.name]
        sync = self.base / "data/sync"
        drop = [path.read_bytes() for path in sync.rglob("*") if path.is_file() and path.parent != sync / ".sftpgate"]
        kept = [item.content for item in model.items if item.state in (IGNORED, HELD)]
        assert Counter(aside + drop) == Counter(kept + ([model.local] if model.local is not None else []))

    @invariant()
    def users_see_what_is_theirs(self) -> None:
        """Each user sees its own unclaimed files, the unfinished ones first, and no one else's."""
        self._looks += 1
        for user in ("erp", "other") if self._looks % LOOK_EVERY == 0 else ():
            for path in ("a.csv", "b.csv", "queue.csv", "a.csv.tmp", "_b.csv", "sub/c.csv", LOCK):
                item = self.model.visible(user, path)
                wanted = item.content if item else None
                if (user, path) in self.model.partials:
                    wanted = self.model.partials[user, path][-1][0]
                found = self.world.look(path, user=user)
                assert found == wanted, (user, path)


pytestmark = [
    pytest.mark.promise("P1", "P2", "P3", "P4", "P5"),
    pytest.mark.timeout(300),  # a failure is made as small as it can be before it is shown
]

TestHandOver = HandOver.TestCase
TestHandOver.settings = settings(
    max_examples=60, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
