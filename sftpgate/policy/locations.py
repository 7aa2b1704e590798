"""The one notation for where a file is: ``<area>/<path>``, for example ``store/sub/enrols.csv`` or ``claims/01J…``.

Pure. A location does not say where the store lies, so a data directory can be moved; ``store/layout.py`` turns it into
a place on disk. Areas whose names are ids hold each file under the id of its arrival; in the others the names are those
that people see.
"""

from __future__ import annotations

from typing import NewType

from sftpgate.policy.lifecycle import Area

Location = NewType("Location", str)

NAMED_BY_ID = frozenset({Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS, Area.KEPT})
LOCAL_STAGING = "-"  # the staging directory of what local programs deposit: no user can be called so (policy/accounts.py)
_AREAS = {area.value: area for area in Area}


def location(area: Area, path: str) -> Location:
    """Return the location of ``path`` in ``area``."""
    return Location(f"{area}/{path}")


def area_of(where: Location) -> Area:
    """Return the area of a location."""
    return _AREAS[where.partition("/")[0]]


def path_in(where: Location) -> str:
    """Return the path of a location inside its area."""
    return where.partition("/")[2]
