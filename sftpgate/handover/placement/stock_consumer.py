"""In front of a stock consumer: the program that sweeps the top level of the store itself (``handover = "lock.txt"``).

It creates ``lock.txt``, lists the folder, copies each plain file and then unlinks its name, and removes ``lock.txt``. It
leaves out directories and names that begin with a dot or ``_``. It knows nothing of us, and we cannot stop it; a file
that took the name of another between its copy and its unlink would be lost. What keeps every version (promise P3):

- **A name is only taken when it is free**, by a rename that never replaces. Later versions wait in the queue.
- **Nobody but the consumer frees a name while its lock is there**: removing and renaming are refused until it has gone.
- **No name is taken while its lock is there.** A name that we freed ourselves, just before the consumer created its lock,
  may be one that it is still going to unlink. Its lock is looked at after the name was freed, never in the change that
  frees it (the old file is still there then): if the lock is absent, every pass that could have opened the old file has
  ended.

- **A version that waits in the queue comes up a while after the one before it was taken** (``consumer_interval``). The batch tool
  keeps one version of a name: any of its tasks captures all files, so a second version that is captured before the first was
  executed takes its place inside the platform. And two captures can overlap: the one that ends first removes the lock, while the
  other one still has the names to unlink that it listed before; a version that came in between would go with them. What a sender
  sends after the version before it was taken does not wait: senders pace themselves, and this cannot be made safe for all.

The instant between our look and our rename is harmless: the name was free and stays whole, so the consumer, should it
begin just then, sees the whole file or none. What is left: a file that is removed or renamed by its sender in the
instant in which the consumer begins may have been copied by it all the same.

A lock that is older than its time to live is taken for a dead consumer's, and passed over. Looks only; each look is one
``lstat``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sftpgate.errors import ConsumerReading
from sftpgate.handover.timekeeping import Timekeeper
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, area_of, location, path_in
from sftpgate.policy.names import CONSUMER_LOCK_NAME
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout

_LOCK = location(Area.STORE, CONSUMER_LOCK_NAME)


@dataclass(frozen=True, slots=True)
class Consumer:
    """The stock consumer of a store."""

    layout: Layout
    disk: Disk
    lock_ttl: timedelta
    time: Timekeeper
    interval: timedelta = timedelta(0)  # between two versions of a name

    def sweeps(self, where: Location | None) -> bool:
        """Return whether the consumer could take what lies at ``where``: it looks at the top level of the store, and no
        deeper.
        """
        return where is not None and area_of(where) is Area.STORE and "/" not in path_in(where)

    def lock_age(self) -> timedelta | None:
        """Return how old the consumer's lock is by the disk's own clock, or None if there is none."""
        found = self.disk.lstat(self.layout.disk_path(_LOCK))
        return None if found is None else timedelta(seconds=self.time.age(found.st_ctime))

    def is_at_work_on(self, taken_at: datetime | None, now: datetime) -> bool:
        """Return whether the consumer may not have executed the version of a name that it took at that time. A clock that
        was set by more than the interval since then ends the wait.
        """
        return taken_at is not None and abs(now - taken_at) < self.interval

    def is_reading(self) -> bool:
        """Return whether the consumer is at work."""
        age = self.lock_age()
        return age is not None and age <= self.lock_ttl

    def has_stale_lock(self) -> bool:
        """Return whether a lock lies there that is too old to be believed."""
        age = self.lock_age()
        return age is not None and age > self.lock_ttl

    def require_absent(self) -> None:
        """Raise ConsumerReading if the consumer is at work."""
        if self.is_reading():
            raise ConsumerReading()
