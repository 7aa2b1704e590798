"""How long things are kept that nobody waits for: the oldest go, by age and by size.

Pure. What is not yet processed has no age here: it is never a candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar


class KeptKind(StrEnum):
    """What can be pruned."""

    ARCHIVES = "archives"
    REPORTS = "reports"
    RECEIPTS = "receipts"
    QUARANTINE = "quarantine"
    PARTIALS = "interrupted uploads"
    RECORDS = "records"  # of arrivals that came to their end and have no file any more, with their runs
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long, and how much of it, a kind of things is kept. None: no limit."""

    age: timedelta | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """Something that is to go, or has gone. ``at`` is when its time began; ``reason`` says which limit it is beyond."""

    kind: KeptKind
    name: str
    size_bytes: int
    at: datetime
    reason: str


Item = TypeVar("Item")


def beyond(
    oldest_first: Iterable[tuple[Item, datetime, int]], keep: Keep, now: datetime, total_bytes: int
) -> Iterator[tuple[Item, str]]:
    """Yield the items that are too old, or too much of ``total_bytes``, each with the reason. Items come with time and size."""
    for item, at, size in oldest_first:
        if keep.age is not None and at <= now - keep.age:
            yield item, "too old"
        elif keep.size_bytes is not None and total_bytes > keep.size_bytes:
            yield item, "too much"
        else:
            return
        total_bytes -= size
