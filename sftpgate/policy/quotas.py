"""Quotas: how much one user may send, decided of plain values.

The gate's settings hold for every user whose ``user.toml`` does not say otherwise. A day is one of UTC, so that all servers and
all users mean the same one, and a refusal can say when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from sftpgate.errors import QuotaExceeded

_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnQuotas:
    """What a user's ``user.toml`` says; None: as the gate has it."""

    max_upload_bytes: int | None = None
    max_pending_bytes: int | None = None
    max_pending_files: int | None = None
    max_daily_bytes: int | None = None
    max_directories: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What holds for one user. Pending is what no runner has claimed, held and in staging too."""

    max_upload_bytes: int
    max_pending_bytes: int
    max_pending_files: int
    max_daily_bytes: int  # 0: any number
    max_directories: int  # in the part of the drop that the user sees as its own

    def of(self, own: OwnQuotas) -> Quotas:
        """Return these, if the user has none of its own."""
        return Quotas(
            max_upload_bytes=_first(own.max_upload_bytes, self.max_upload_bytes),
            max_pending_bytes=_first(own.max_pending_bytes, self.max_pending_bytes),
            max_pending_files=_first(own.max_pending_files, self.max_pending_files),
            max_daily_bytes=_first(own.max_daily_bytes, self.max_daily_bytes),
            max_directories=_first(own.max_directories, self.max_directories),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a user has pending, and what it has sent today: its arrivals of the day, and all that is in staging."""

    files: int
    bytes: int
    daily_bytes: int = 0


@dataclass(slots=True, eq=False)
class Budget:
    """What one user may still send: measured now and then, and charged by all its open uploads of this process meanwhile."""

    pending_bytes: int
    daily_bytes: int | None  # None: any number

    def measured(self, quotas: Quotas, usage: Usage) -> None:
        """Take what is left, as it was just measured; what is in staging is in ``usage``, so it was charged."""
        self.pending_bytes = quotas.max_pending_bytes - usage.bytes
        self.daily_bytes = quotas.max_daily_bytes - usage.daily_bytes if quotas.max_daily_bytes else None

    @property
    def bytes(self) -> int:
        """The least of what is left."""
        return max(0, self.pending_bytes if self.daily_bytes is None else min(self.pending_bytes, self.daily_bytes))

    def require(self, growth: int, replaced_bytes: int = 0) -> None:
        """Raise QuotaExceeded if an upload may not grow by so much.

        ``replaced_bytes`` are pending in an arrival that it will replace. They count for the day: what replaces it is an arrival
        of its own.
        """
        if growth > self.pending_bytes + replaced_bytes:
            raise QuotaExceeded(
                f"this account has room for {max(0, self.pending_bytes)} bytes more until its files are processed "
                "(rule: max_pending_bytes)"
            )
        if self.daily_bytes is not None and growth > self.daily_bytes:
            raise QuotaExceeded(
                f"this account has room for {max(0, self.daily_bytes)} bytes more today, and again from 00:00 UTC on "
                "(rule: max_daily_bytes)"
            )

    def charge(self, growth: int) -> None:
        """Take what an upload has grown by."""
        self.pending_bytes -= growth
        if self.daily_bytes is not None:
            self.daily_bytes -= growth


def require_room(quotas: Quotas, usage: Usage) -> None:
    """Raise QuotaExceeded if the user may not begin an upload, with the rule and when there is room again."""
    if usage.files >= quotas.max_pending_files:
        raise QuotaExceeded(_full(f"{usage.files} files", quotas.max_pending_files, "max_pending_files"))
    if usage.bytes >= quotas.max_pending_bytes:
        raise QuotaExceeded(_full(f"{usage.bytes} bytes", quotas.max_pending_bytes, "max_pending_bytes"))
    if 0 < quotas.max_daily_bytes <= usage.daily_bytes:
        raise QuotaExceeded(
            f"this account has sent {usage.daily_bytes} bytes today, the limit is {quotas.max_daily_bytes}: "
            "there is room again from 00:00 UTC on (rule: max_daily_bytes)"
        )


def require_directories(limit: int, count: int, growth: int = 1) -> None:
    """Raise QuotaExceeded if so many directories more would be too many."""
    if count + growth > limit:
        raise QuotaExceeded(
            f"{count} directories are in this part of the drop, the limit is {limit}: remove empty ones (rule: max_directories)"
        )


def require_archives(limit: int, kept: int, size: int) -> None:
    """Raise QuotaExceeded if one more earlier version of ``size`` bytes may not be kept: a few bytes that are changed in a
    large file put all of it into the archives. ``kept`` bytes of earlier versions were put there today.
    """
    if kept + size > limit:
        raise QuotaExceeded(
            f"earlier versions of this account's files have {kept} bytes in the archives since 00:00 UTC, and the one that this "
            f"change would put there has {size}: send the file as a whole, or change it when its tool has taken it "
            "(rule: max_pending_bytes)"
        )


def day_of(moment: datetime) -> int:
    """Return the day of a moment in UTC, as a number that grows by one a day."""
    return (moment.astimezone(UTC).date() - _FIRST_DAY).days


def _first(own: int | None, gates: int) -> int:
    return gates if own is None else own


def _full(what: str, limit: int, rule: str) -> str:
    return f"{what} of this account wait to be processed, the limit is {limit} (rule: {rule})"
