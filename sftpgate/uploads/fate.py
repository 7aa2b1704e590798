"""What becomes of an upload: open until its CLOSE, its end or a failure, and what is known about that.

Any thread. Who changes an upload holds ``lock`` for as long as it must stay open; the methods take it themselves, but for
``require_open`` and ``fail``, which are called with it held. The states and their transitions are in ``policy.lifecycle``.
Nothing here blocks but for the lock, which nobody holds while the disk is waited for, except to change a size.
"""

from __future__ import annotations

from threading import Lock

from sftpgate.errors import NoSpace, QuotaExceeded, Refused, SftpgateError, TooLarge, UploadFailed
from sftpgate.policy.lifecycle import UploadEvent, UploadState, upload_after


class UploadFate:
    """The fate of one upload. What others read of it are properties: nobody else sets them."""

    __slots__ = ("_closed_at", "_failure", "_is_admitted", "_is_closing", "_is_outrun", "_state", "_superseded", "_why", "lock")

    def __init__(self) -> None:
        self.lock = Lock()  # between its CLOSE and what other sessions of its user ask of its path
        self._state = UploadState.OPEN
        self._failure: SftpgateError | None = None
        self._is_closing = False  # its end is under way: it stays what it is
        self._is_admitted = False  # the ledger is about to say that it is an arrival
        self._superseded = False
        self._is_outrun = False
        self._closed_at: float | None = None
        self._why = ""

    # -- while it is open --------------------------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise UploadFailed unless it can be written to. Called with the lock held."""
        if self._state is not UploadState.OPEN or self._is_closing:
            raise self._failed()

    def require_changeable(self) -> None:
        """Raise Refused if its end is under way. Called with the lock held."""
        if self._is_closing:
            raise Refused("the upload of this file is being finished at this moment: try again (rule: a closed file is whole)")

    def require_sound(self) -> None:
        """Raise UploadFailed after a failure, or if it is at its end."""
        if self._state is not UploadState.OPEN:
            raise self._failed()

    def fail(self, error: SftpgateError) -> None:
        """Take a failure, which is for good. If there was no room, what was written is not kept: it would keep others from the
        disk. Called with the lock held.
        """
        self._failure = self._failure or error
        self._happen(UploadEvent.WRITE_FAILED)
        self._superseded = self._superseded or isinstance(error, (NoSpace, TooLarge, QuotaExceeded))

    def supersede(self) -> None:
        """Take in that nobody needs what it leaves: it is not kept for resuming."""
        self._superseded = True

    def outrun(self) -> None:
        """Take in that another handle went on with it, and has finished."""
        self._is_outrun = self._superseded = True

    # -- its end -----------------------------------------------------------------------------------------------------

    def close_asked(self, at: float) -> None:
        """Take in that its client's CLOSE came, at this time of the event loop."""
        self._closed_at = at

    def closing(self) -> None:
        """Let nobody change it from here on. Called with the lock held."""
        self._is_closing = True

    def judged(self, why: str) -> None:
        """Take in the reason of its grade."""
        self._why = why

    def admitted(self) -> None:
        """Take in that the change under way makes it an arrival: who removes it from here on removes that. Raises UploadFailed
        if it was removed already.
        """
        with self.lock:
            self.require_sound()
            self._is_admitted = True

    def dropped(self) -> None:
        """Take in that its user removed it while it was open. One that is becoming an arrival is removed as that."""
        with self.lock:
            if not self._is_admitted:
                self._happen(UploadEvent.DROPPED)

    def kept(self) -> None:
        """Take in that it left the finished file that it is a copy of as it was."""
        with self.lock:
            self._happen(UploadEvent.DROPPED)

    def published(self) -> None:
        """Take in that the staging file became an arrival."""
        with self.lock:
            self._happen(UploadEvent.CLOSED)

    def _happen(self, event: UploadEvent) -> None:
        self._state = upload_after(self._state, event)

    def _failed(self) -> UploadFailed:
        if self._failure is None or self._failure.local:
            return UploadFailed()
        return UploadFailed(f"{UploadFailed()} ({self._failure})")

    # -- what is known of it -----------------------------------------------------------------------------------------

    @property
    def state(self) -> UploadState:
        """Where it stands."""
        return self._state

    @property
    def is_superseded(self) -> bool:
        """True if nobody needs what it leaves."""
        return self._superseded

    @property
    def is_outrun(self) -> bool:
        """True if another handle went on with it, and has finished."""
        return self._is_outrun

    @property
    def closed_at(self) -> float | None:
        """When its CLOSE came, in the event loop's time; None before."""
        return self._closed_at

    @property
    def why(self) -> str:
        """The reason of its grade; empty before it was judged."""
        return self._why
