"""The tools of a site: what they are pointed at, what waits for them, and how they fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sftpgate.app.composition import name_rules
from sftpgate.app.runs.claims import make_claims
from sftpgate.ledger import runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.runs import Run
from sftpgate.policy.tools import check_tools, in_order
from sftpgate.runners.claims import Claims
from sftpgate.settings.choices import Order
from sftpgate.settings.tools import ToolSettings
from sftpgate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRecord:
    """A tool in a listing. ``waiting`` counts arrivals and local files; ``last_outcome`` is "at work" while a run lasts."""

    tool: str
    files: Sequence[str]
    arrivals: Order
    after: Sequence[str]
    enabled: bool
    waiting: int
    last_run_at: datetime | None
    last_outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDetails:
    """All that is known of one tool. ``local_files``: paths in the store that are no arrivals yet.

    ``tried_again_at``: when it tries a file again that was not to blame; None if there is none.
    """

    record: ToolRecord
    settings: ToolSettings
    waiting: Sequence[Arrival]
    local_files: Sequence[str]
    last_run: Run | None
    tried_again_at: datetime | None


def list_tools(site: Site) -> list[ToolRecord]:
    """Return the tools in the order in which they run. Raises SettingsError if they are not usable."""
    tools = site.settings.tools
    check_tools(tools, name_rules(site.settings))
    claims = make_claims(site)
    return [_record(claims, name, tools[name], _last_run(site, name)) for name in in_order(tools, list(tools))]


def show_tool(site: Site, name: str) -> ToolDetails:
    """Return what is known of one tool. Raises UnknownTool."""
    claims = make_claims(site)
    tool = claims.require(name)
    last = _last_run(site, name)
    return ToolDetails(
        record=_record(claims, name, tool, last),
        settings=tool,
        waiting=claims.candidates.all_waiting(name),
        local_files=claims.candidates.unknown_files(name),
        last_run=last,
        tried_again_at=claims.candidates.put_off_until(name),
    )


def _last_run(site: Site, name: str) -> Run | None:
    with site.ledger.reading() as connection:
        return runs.last_of_tool(connection, name)


def _record(claims: Claims, name: str, tool: ToolSettings, last: Run | None) -> ToolRecord:
    return ToolRecord(
        tool=name,
        files=list(tool.files),
        arrivals=tool.arrivals,
        after=list(tool.after),
        enabled=tool.enabled,
        waiting=len(claims.candidates.all_waiting(name)) + len(claims.candidates.unknown_files(name)),
        last_run_at=last.started_at if last else None,
        last_outcome=(last.outcome or "at work") if last else None,
    )
