"""How a file differs from the one that was processed last: by key, as a whole and within each group.

Pure. Of both files there are hashes only (``table.Rows``), so a million rows take some tens of MB, whatever their length. Most
rows are the same in both: they are found by their content, in parts, and only the others are compared by key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sftpgate.contracts.objections import Objection, visible
from sftpgate.contracts.table import Rows
from sftpgate.settings.contracts import Bound, ContractSettings

_PART_ROWS = 1_000_001  # compared at a time: some 70 MB
_MOST_GROUPS_SAID = 100


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many rows: of the old file, and added, changed and removed in the new one."""

    of: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def differing(self) -> int:
        """How many rows differ, in whatever way."""
        return self.added + self.changed + self.removed


@dataclass(slots=True, kw_only=True)
class Difference:
    """The counts of the whole, and of each group by its name."""

    whole: Counts
    groups: dict[str, Counts] = field(default_factory=dict)


def compare(old: Rows, new: Rows) -> Difference:
    """Return how ``new`` differs from ``old``. Rows without a key column are compared by their whole content."""
    groups = {name: Counts() for name in (*old.names, *new.names)}
    named_old, named_new = list(old.names), list(new.names)
    whole = Counts(of=len(old))
    for number, count in Counter(old.groups).items():
        groups[named_old[number]].of = count
    gone, come = places_apart(old.contents, new.contents)
    before = {(old.keys or old.contents)[place]: place for place in gone}
    for place in come:
        earlier = before.pop((new.keys or new.contents)[place], None)
        counts = groups[named_new[new.groups[place]]] if new.groups else Counts()
        if earlier is None:
            whole.added += 1
            counts.added += 1
        else:
            whole.changed += 1
            counts.changed += 1
    for place in before.values():
        whole.removed += 1
        if old.groups:
            groups[named_old[old.groups[place]]].removed += 1
    return Difference(whole=whole, groups=groups)


def places_apart(these: Sequence[int], those: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the places of ``these`` that are not among ``those``, and the reverse, each in order. A part of the values is
    compared at a time, with one set of some 70 MB.
    """
    parts = 1 + max(len(these), len(those)) // _PART_ROWS
    only_these: set[int] = set()
    only_those: list[int] = []
    for part in range(parts):
        if parts == 1:
            known = set(these)
            only_those = [place for place, value in enumerate(those) if value not in known]
        else:
            known = {value for value in these if value % parts == part}
            only_those += [place for place, value in enumerate(those) if value % parts == part and value not in known]
        known.difference_update(those)
        only_these |= known
    return [place for place, value in enumerate(these) if value in only_these] if only_these else [], sorted(only_those)


def first_doubled(rows: Rows) -> int | None:
    """Return the place of the first row whose key an earlier row has; None if each key is there once."""
    if not rows.keys:
        return None
    parts = 1 + len(rows.keys) // _PART_ROWS
    found: list[int] = []
    for part in range(parts):
        seen: set[int] = set()
        mine = [key for key in rows.keys if key % parts == part] if parts > 1 else rows.keys
        if len(set(mine)) == len(mine):
            continue
        for place, key in enumerate(rows.keys):
            if key % parts == part:
                if key in seen:
                    found.append(place)
                    break
                seen.add(key)
    return min(found, default=None)


def objections(contract: ContractSettings, difference: Difference) -> Iterator[Objection]:
    """Return what the bounds of a contract have against a difference: the whole first, then its groups, the worst first."""
    bounds: tuple[tuple[str, Bound | None], ...] = (
        ("removed", contract.max_removed),
        ("added", contract.max_added),
        ("changed", contract.max_changed),
    )
    for kind, bound in bounds:
        count = getattr(difference.whole, kind)
        if bound is not None and not bound.allows(count, difference.whole.of):
            yield Objection(code=f"amounts.{kind}", details={"found": count, "of": difference.whole.of, "limit": str(bound)})
    said = 0
    for name, counts in sorted(difference.groups.items(), key=lambda item: (-item[1].removed, item[0])):
        for kind, bound in bounds:
            count = getattr(counts, kind)
            if bound is None or not counts.of or bound.allows(count, counts.of):
                continue
            said += 1
            if said > _MOST_GROUPS_SAID:
                return
            if kind == "removed" and count == counts.of:
                yield Objection(code="amounts.group_gone", details={"of": counts.of, "group": visible(name)})
            else:
                details = {"found": count, "of": counts.of, "group": visible(name), "limit": str(bound)}
                yield Objection(code=f"amounts.group_{kind}", details=details)
