"""What the contract of its tool says of a file, as far as it was asked: the ledger's verdict on its content.

Only looks; nothing is read of the file. Who asks contracts is ``handover.guard``. A verdict is of the content, the contract and
the file that the tool processed last, so that a change of one of them asks anew. Blocks for two queries, and for none if the
file's tool has no contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sftpgate.contracts.objections import Objection
from sftpgate.handover.contracts.approvals import Approvals
from sftpgate.ledger import runs, verdicts
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.contracts import undos
from sftpgate.ledger.contracts.approvals import Subject
from sftpgate.ledger.database.connection import Connection
from sftpgate.policy.lifecycle import HoldReason
from sftpgate.policy.pointers import Pointer, tool_for
from sftpgate.settings.contracts import ContractSettings, Mode

FAILED = "check.failed"  # the code of an objection: the check itself failed
CONTRACT_CHANGED = "its contract is another one than when it was judged"
LAST_FILE_CHANGED = "its tool has processed another file since it was judged"
_NOT_OF_A_VERDICT = {"mode", "four_eyes", "undo"}  # keys of a contract that say what becomes of a file, not what is wrong with it
_JUDGED = frozenset({HoldReason.UNCHECKED, HoldReason.CONTRACT})  # why a file is held that was judged


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractTerms:
    """By what a file is judged: the contract of its tool, its digest, and the SHA-256 of the file that it is compared with."""

    tool: str
    contract: ContractSettings
    digest: str
    against: str

    @property
    def needed(self) -> int:
        """How many people have to approve a file that the contract holds."""
        return 2 if self.contract.four_eyes else 1

    def subject(self, item: Arrival) -> Subject:
        """Return what people approve of a file."""
        return Subject(sha256=item.sha256, tool=self.tool, contract=self.digest, against=self.against)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of a file: whether its contract was asked, and what that objects to.

    ``warnings`` are objections that hold nothing, because the contract only warns. ``anew`` says what has changed since a
    file that is held was judged, if it has to be judged again. ``needs_approval``: it was made to undo a run, and nobody let
    it go.
    """

    is_judged: bool = True
    objections: tuple[Objection, ...] = ()
    warnings: tuple[Objection, ...] = ()
    anew: str = ""
    needs_approval: bool = False


class ContractVerdicts:
    """Knows the verdicts of one site. ``pointers`` is asked each time; ``contracts`` are those of the settings, by tool."""

    def __init__(
        self, pointers: Callable[[], Sequence[Pointer]], contracts: Mapping[str, ContractSettings], approvals: Approvals
    ) -> None:
        self._pointers = pointers
        self._approvals = approvals
        self._contracts = {tool: (contract, digest_of(contract)) for tool, contract in contracts.items()}

    def speak_of(self, path: str) -> bool:
        """Return whether the tool of a path has a contract."""
        return bool(self._contracts) and tool_for(path, self._pointers()) in self._contracts

    def terms_of(self, connection: Connection, path: str) -> ContractTerms | None:
        """Return by what a file under ``path`` is judged; None if its tool has no contract, or no tool takes it."""
        if not self._contracts:
            return None
        tool = tool_for(path, self._pointers())
        found = self._contracts.get(tool) if tool is not None else None
        if tool is None or found is None:
            return None
        last = runs.processed_by(connection, tool, 1)
        return ContractTerms(tool=tool, contract=found[0], digest=found[1], against=last[0].sha256 if last else "")

    def of(self, connection: Connection, item: Arrival) -> Judged:
        """Return what is known of a file under its path; what people approved is no objection."""
        terms = self.terms_of(connection, item.path)
        is_made_here = item.source == undos.SOURCE or item.hold_reason is HoldReason.APPROVAL
        if terms is None:
            return Judged(needs_approval=is_made_here)
        objections = verdicts.find(connection, item.sha256, terms.digest, terms.against)
        if is_made_here:
            return Judged(needs_approval=not self._is_let_go(connection, item, terms))
        if objections is None or (not is_final(objections) and item.hold_reason not in _JUDGED):
            return Judged(is_judged=False, anew=self._what_changed(connection, item, terms))
        if terms.contract.mode is Mode.WARN:
            return Judged(warnings=objections)
        if objections and self._is_let_go(connection, item, terms):
            return Judged()
        return Judged(objections=objections)

    def _is_let_go(self, connection: Connection, item: Arrival, terms: ContractTerms) -> bool:
        return self._approvals.let_go(connection, item, terms.subject(item), needed=terms.needed)

    @staticmethod
    def _what_changed(connection: Connection, item: Arrival, terms: ContractTerms) -> str:
        """Return why a file that is held by an earlier verdict has to be judged again; empty for any other file."""
        if item.hold_reason is HoldReason.UNCHECKED:
            return item.hold_detail or ""  # it was said when the file was held for that
        if item.hold_reason is not HoldReason.CONTRACT:
            return ""
        under = verdicts.contracts_asked(connection, item.sha256)
        return LAST_FILE_CHANGED if terms.digest in under else CONTRACT_CHANGED


def is_final(objections: Sequence[Objection]) -> bool:
    """Whether a verdict is one on the content: a check that failed may succeed the next time."""
    return all(each.code != FAILED for each in objections)


def digest_of(contract: ContractSettings) -> str:
    """Return the digest of a contract, hex: the same for the same rules, whatever follows from a verdict."""
    return sha256(contract.model_dump_json(exclude=_NOT_OF_A_VERDICT).encode()).hexdigest()
