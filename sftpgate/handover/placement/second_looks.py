"""Looking again at files when something came or went that decides about them: a companion, or the batch lock of their home.

Each look is a change of its own, made after the one that called for it: what that did stands, whatever becomes of the look. A
failure is logged and left to the next sweep. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from sftpgate.errors import SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.placement.batch_locks import BatchHolds
from sftpgate.handover.placement.companions import Companions, stem_of, stem_released_by
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.names import NameRules

log = get_logger("placing")

# What can still be kept from runners, if a checksum file says so.
_IN_REACH = frozenset({ArrivalState.HELD, ArrivalState.WAITING, ArrivalState.QUEUED})
_LOOKS = 3  # at a companion that appears while we look; the sweeper looks again later


class SecondLooks:
    """Looks again at files. ``reconsider`` places one anew, in a change."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        names: NameRules,
        companions: Companions,
        batch_holds: BatchHolds,
        reconsider: Callable[[Change, Arrival], Arrival],
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._names = names
        self._companions = companions
        self._batch_holds = batch_holds
        self._reconsider = reconsider

    def at(self, paths: Iterable[str], *, states: Collection[ArrivalState] = _IN_REACH) -> None:
        """Place the files of these paths anew: those that are held, and the newest one, which a companion speaks of."""
        wanted = list(dict.fromkeys(paths))
        try:
            for start in range(0, len(wanted), SLICE):
                self._look(wanted[start : start + SLICE], states)
        except SftpgateError as error:
            log.warning("companion.failed", reason=error.message)

    def _look(self, paths: Sequence[str], states: Collection[ArrivalState]) -> None:
        wanted = paths
        for _ in range(_LOOKS):
            if not wanted:
                return
            with self._resources.ledger.reading() as connection:
                rows = arrivals.line_at(connection, wanted)
            self._companions.hash_first(rows)
            with self._journal.change() as change:
                for path in wanted:
                    in_reach = [item for item in change.line_at(path) if item.state in states]
                    for item in in_reach:
                        if item.state is ArrivalState.HELD or item is in_reach[-1]:
                            self._reconsider(change, item)
            wanted = list(change.unverified.values())

    def spoken_of(self, paths: Iterable[str]) -> list[str]:
        """Return the files that the companions among ``paths`` speak of; of a done-file also those of which it has the stem."""
        found: list[str] = []
        for path in paths:
            if whole := self._names.spoken_of(path):
                found.append(whole)
                if stem := stem_released_by(path):
                    with self._resources.ledger.reading() as connection:
                        beside = arrivals.live_paths_of_stem(connection, stem)
                    found += [other for other in beside if stem_of(other) == stem and self._names.eligible(other)]
        return found

    # -- batch locks -------------------------------------------------------------------------------------------------

    def after(self, home: str, *, gone: Sequence[str] = (), appeared: Sequence[str] = ()) -> None:
        """Look at files whose fate depends on what is, or was, at these paths: the batch lock of ``home``, and companions.

        A companion that goes can only let a file through; one that appears can also speak against it.
        """
        if any(self._names.is_batch_lock(path, home) for path in (*gone, *appeared)):
            self.release_batch(home)
        self.at(self.spoken_of(gone), states={ArrivalState.HELD})
        self.at(self.spoken_of(appeared))

    def release_batch(self, home: str) -> int:
        """Publish what batch locks of ``home`` held back, in order of arrival, but for the files of senders who still have one
        (of all senders, if a lock is there that nobody sent); returns how many.
        """
        released = 0
        last = 0
        with self._resources.ledger.reading() as connection:
            owners = arrivals.owners_held(connection, HoldReason.BATCH_LOCK, home=home)
        while owners:
            locks = self._batch_holds.locks_of(home)
            free = [owner for owner in owners if self._batch_holds.holding(locks, owner) is None]
            with self._resources.ledger.reading() as connection:
                rows = arrivals.find(
                    connection,
                    states=[ArrivalState.HELD],
                    hold_reason=HoldReason.BATCH_LOCK,
                    home=home,
                    owners=free,
                    after_seq=last,
                    limit=SLICE,
                )
            if not rows:
                break
            last = rows[-1].seq
            self._companions.hash_first(rows)
            with self._journal.change() as change:
                for item in change.adopt(rows):
                    if item.state is ArrivalState.HELD:
                        released += self.try_release(change, item)
        return released

    def try_release(self, change: Change, item: Arrival) -> bool:
        """Place a held arrival anew; returns whether it is held no more. One that cannot be placed must not keep others back."""
        try:
            return self._reconsider(change, item).state is not ArrivalState.HELD
        except SftpgateError as error:
            change.note("arrival.release_failed", item, actor=SYSTEM, error=error.message)
            return False
