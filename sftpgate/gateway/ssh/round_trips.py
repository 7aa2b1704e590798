"""How long the line to a client is: the time from an answer to the request that follows it.

Clients begin a session with requests that wait for each other (INIT, then what they look at before they open a file). The
shortest of these times is a round trip, and what the client did meanwhile. A client that does not wait makes it look shorter,
never longer. Pure: the time comes as an argument.
"""

from __future__ import annotations

SAMPLES = 3  # OpenSSH's sftp has waited four times when it opens its first file


class RoundTrips:
    """Those at the beginning of a session."""

    __slots__ = ("_answered_at", "_left", "_shortest")

    def __init__(self) -> None:
        self._answered_at: float | None = None
        self._shortest = float("inf")
        self._left = SAMPLES

    def answered(self, now: float) -> None:
        """Note that an answer was sent at ``now``, in seconds."""
        self._answered_at = now

    def asked(self, now: float) -> float | None:
        """Note that a request has come. Returns the seconds of the shortest round trip; None while too few are known."""
        if self._answered_at is not None:
            self._shortest = min(self._shortest, now - self._answered_at)
            self._answered_at = None
            self._left -= 1
        return None if self._left > 0 else self._shortest
