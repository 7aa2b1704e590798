"""The tables of the ledger.

Times are aware UTC in Python and microseconds since the epoch in the database: they sort, they have no time zone to
lose, and every database has them. ``arrivals.seq`` is the order of arrival: it is given under the store's lock, so a
clock that jumps back does not change it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    event,
    text,
)

SCHEMA_VERSION = 14  # how an earlier ledger becomes one of this version: migrations.py

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WHERE = "where"  # of a partial index, in its ``info``


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Convert it for the database."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Convert it from the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def microseconds(value: datetime) -> int:
    """Return a time as the database has it."""
    return (value - _EPOCH) // _MICROSECOND


def utc_time(value: int) -> datetime:
    """Return a time from what the database has."""
    return _EPOCH + timedelta(microseconds=value)


metadata = MetaData()


def _partial(name: str, *columns: str, where: str) -> Index:
    """Return an index of the rows that fit a condition."""
    return Index(name, *columns, sqlite_where=text(where), info={_WHERE: where})


@event.listens_for(metadata, "before_create")
def _limit_indexes(_: MetaData, connection: Connection, **_options: object) -> None:
    """Do the same for PostgreSQL: with an option of its own at each index, every command would import what speaks it."""
    if connection.dialect.name == "postgresql":
        for index in (index for table in metadata.tables.values() for index in table.indexes if _WHERE in index.info):
            index.dialect_options["postgresql"]["where"] = text(index.info[_WHERE])


# Compared byte by byte in every database, as SQLite does it: ranges of paths and beginnings of ids rest on that.
_EXACT = Text().with_variant(Text(collation="C"), "postgresql")
_ID = String(26).with_variant(String(26, collation="C"), "postgresql")

_SEQ = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER PRIMARY KEY counts up by itself in SQLite

arrivals = Table(
    "arrivals",
    metadata,
    Column("seq", _SEQ, primary_key=True),
    Column("id", _ID, nullable=False, unique=True),
    Column("owner", String(64), nullable=False),  # empty: a local program
    Column("home", _EXACT, nullable=False),  # of the owner, when it came: whose batch lock holds it
    Column("path", _EXACT, nullable=False),
    Column("state", String(16), nullable=False),
    Column("hold_reason", String(32)),
    Column("hold_detail", Text),  # what the check that holds it saw, for people; NULL: its reason says everything
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("grade", String(16), nullable=False),
    Column("location", Text),
    Column("pending_from", Text),  # where the file was before the last commit, until the move is known to be durable
    Column("inode", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("source", String(16), nullable=False),  # sftp, sweep, put, rebuilt
    Column("address", String(64)),
    Column("login", Text),  # how the sender logged in: a key's fingerprint, or "password"
    Column("client", Text),
    Column("session", String(26)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", UtcTime),
    Column("archived_as", _EXACT),
    Column("live", Integer, nullable=False),  # 1 while its state is not final or a move is pending: what has to be looked at
    _partial("arrivals_path_live", "path", where="live = 1"),
    Index("arrivals_state", "state", "path", "seq"),
    # a page of the newest of a state, or of an owner: overview.newest
    Index("arrivals_newest", "state", "received_at", "seq"),
    Index("arrivals_newest_of", "owner", "state", "received_at", "seq"),
    _partial("arrivals_usage", "owner", "state", "size", where="live = 1"),
    _partial("arrivals_replaced", "owner", "changed_at", "size", where="state = 'replaced' AND archived_as IS NOT NULL"),
    _partial("arrivals_archived", "archived_as", where="archived_as IS NOT NULL"),
    _partial("arrivals_archives", "owner", "archived_as", where="archived_as IS NOT NULL"),
    Index("arrivals_alike", "path", "size", "mtime_ns"),
    _partial("arrivals_pending", "seq", where="pending_from IS NOT NULL"),
)

claims = Table(
    "claims",
    metadata,
    Column("arrival", String(26), primary_key=True),
    Column("token", String(26), nullable=False, unique=True),
    Column("tool", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("claimed_at", UtcTime, nullable=False),
    Column("lease_until", UtcTime, nullable=False),
    # of the claiming host's boot clock, in seconds; 0: not known
    Column("lease_uptime", Float, nullable=False, server_default="0"),
    Column("lease_seconds", Float, nullable=False, server_default="0"),
    Column("process_start", BigInteger, nullable=False, server_default="0"),  # of ``pid``, in ticks since that boot; 0: not known
)

runs = Table(
    "runs",
    metadata,
    Column("seq", _SEQ, primary_key=True),
    Column("id", String(26), nullable=False, unique=True),
    Column("arrival", String(26), nullable=False, index=True),
    Column("tool", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("exit_status", Integer),
    Column("outcome", String(32)),
    Column("report", Text),
    Column("tryback", Text),
    Column("output", Text),  # the whole output, if the report has only what the sender may read
    Column("rows", Integer),  # read by the tool; NULL in these three: it did not say
    Column("accepted", Integer),
    Column("rejected", Integer),
    Column("rejected_rows", Text),  # JSON: the first of them, as [[line, reason], …]
    Column("because", Text),  # why it failed, or why the file was not to blame, in the tool's words
    Column("owner", String(64), nullable=False),  # copied from the arrival: whose report this is
    Index("runs_owner", "owner", "seq"),
    Index("runs_tool", "tool", "seq"),
)

reports = Table(
    "reports",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("arrival", String(26), nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
    Column("held_at", UtcTime),  # of a report about a hold: since when; one report for each
    Index("reports_owner", "owner", "name"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _SEQ, primary_key=True),  # given by the chain: without gaps, in the order of commits
    Column("at", UtcTime, nullable=False),
    Column("event", String(48), nullable=False),
    Column("actor", _EXACT, nullable=False),  # a user, "cli:account(uid)", "runner:account(uid)" or "system"
    Column("address", String(64)),
    Column("arrival", String(26), index=True),
    Column("details", Text, nullable=False, server_default="{}"),  # JSON
    Column("hash", String(64), nullable=False, server_default=""),  # of this record and the hash before it: chain.py
    Index("events_at", "at", "seq"),
    Index("events_actor", "actor", "at", "seq"),
)

# One row: the end of the chain of events, and the last record before its beginning that was removed.
chain = Table(
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", String(64), nullable=False),
    Column("anchor_seq", BigInteger, nullable=False),
    Column("anchor_hash", String(64), nullable=False),
)

followers = Table(  # who reads the events, and how far each has come: feed.py
    "followers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False),  # the number of the last event that it has dealt with
    Column("moved_at", UtcTime, nullable=False),
)

outbox = Table(  # messages that somebody is to be told, one row for each and each who is told: outbox/messages.py
    "outbox",
    metadata,
    Column("seq", _SEQ, primary_key=True),
    Column("id", _ID, nullable=False, unique=True),  # what its receiver knows it by, however often it comes
    Column("lane", String(80), nullable=False),  # what is reached together, and is away together
    Column("receiver", String(64), nullable=False),
    Column("recipient", Text, nullable=False, server_default=""),  # a mail address, or "user:NAME"; empty: there is but one
    Column("rule", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("content", Text, nullable=False),  # JSON: messages.py
    Column("first_seq", BigInteger, nullable=False),  # of the events that it tells
    Column("last_seq", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("gathers", String(200)),  # under which name it takes more events in, until it is due; NULL: it does not
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("said", Text, nullable=False, server_default="[]"),  # JSON: the last attempts, as [[time, verdict, what was said], …]
    Column("taken_until", UtcTime),  # while somebody delivers it
    Column("done_at", UtcTime),
    _partial("outbox_due", "lane", "due_at", where="state = 'due'"),
    _partial("outbox_gathers", "gathers", where="gathers IS NOT NULL"),
    Index("outbox_done", "done_at"),
)

outbox_lanes = Table(  # what is known of those who are told: outbox/lanes.py
    "outbox_lanes",
    metadata,
    Column("lane", String(80), primary_key=True),
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("not_before", UtcTime),  # nothing is sent until then
    Column("off_at", UtcTime),  # since when it wants nothing any more
    Column("off_because", Text, nullable=False, server_default=""),
    Column("passed_by", BigInteger, nullable=False, server_default="0"),  # events that it was not told of meanwhile
)

receipts = Table(  # what senders were told of their files: receipts.py
    "receipts",
    metadata,
    Column("seq", _SEQ, primary_key=True),
    Column("arrival", _ID, nullable=False),
    Column("number", Integer, nullable=False),  # of the arrival's receipts, from 1
    Column("owner", String(64), nullable=False),
    Column("directory", _EXACT, nullable=False),  # of the file, as its sender sees it below the drop
    Column("name", _EXACT, nullable=False),
    Column("state", String(16), nullable=False),
    Column("record", BigInteger, nullable=False),  # the number of the event that it tells of
    Column("at", UtcTime, nullable=False),
    Column("body", Text, nullable=False),  # JSON, byte for byte as it was signed
    Column("body_bytes", Integer, nullable=False),  # in UTF-8
    Column("signature", Text, nullable=False),
    Index("receipts_arrival", "arrival", "number", unique=True),
    Index("receipts_place", "owner", "directory", "name", "seq"),
)

occasions = Table(  # times at which files are expected: expectations/occasions.py
    "occasions",
    metadata,
    Column("name", String(64), primary_key=True),  # of the table [expect.NAME]
    Column("due_at", UtcTime, primary_key=True),
    Column("opens_at", UtcTime, nullable=False),
    Column("warn_at", UtcTime),
    Column("late_at", UtcTime, nullable=False),
    Column("missing_at", UtcTime, nullable=False),
    Column("closes_at", UtcTime, nullable=False),
    Column("take_seconds", Float),  # NULL: a file may wait for ever
    Column("says_unchanged", Boolean, nullable=False),
    Column("files", Text, nullable=False),  # JSON: [[arrival, path, SHA-256, [[since, known, standing, reason], …]], …]
    Column("state", String(16), nullable=False),  # what was said last
    Column("since", UtcTime, nullable=False),
    Column("judged_to", UtcTime, nullable=False),
    Column("is_troubled", Boolean, nullable=False),
    Column("sha256_before", String(64), nullable=False),  # of the last file that came for an earlier one; empty: none
    Column("watched", Integer, nullable=False),  # 1 until it is over
    _partial("occasions_watched", "name", "due_at", where="watched = 1"),
)

volumes = Table(  # what each user has sent today: volumes.py
    "volumes",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("day", Integer, nullable=False),  # of UTC, in days since 1970
    Column("bytes", BigInteger, nullable=False),
)

verdicts = Table(  # what contracts say of contents: verdicts.py
    "verdicts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("contract", String(64), primary_key=True),  # a digest of the tool's contract
    Column("against", String(64), primary_key=True),  # SHA-256 of the file that the tool had processed last; empty: none
    Column("objections", Text, nullable=False),  # JSON: [[code, line, count, details], …]; empty: the file is good
    Column("judged_at", UtcTime, nullable=False),
    Index("verdicts_judged", "judged_at"),
)

approvals = Table(  # who let a file go that a contract holds: contracts/approvals.py
    "approvals",
    metadata,
    Column("seq", _SEQ, primary_key=True),
    Column("arrival", String(26), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),
    Column("tool", Text, nullable=False),
    Column("contract", String(64), nullable=False),  # as in ``verdicts``, and so is the next one
    Column("against", String(64), nullable=False),
    Column("needed", Integer, nullable=False),  # how many people the contract asked for
    Column("person", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("boot", String(64), nullable=False),
    Column("uptime", Float, nullable=False),
    Column("ended_at", UtcTime),
    _partial("approvals_open", "arrival", where="ended_at IS NULL"),
)

undos = Table(  # files that were made to undo what a run did: contracts/undos.py
    "undos",
    metadata,
    Column("arrival", String(26), primary_key=True),
    Column("undone", String(26), nullable=False, index=True),
    Column("is_commands", Boolean, nullable=False),  # and no snapshot: nothing is compared with it
    Column("at", UtcTime, nullable=False),
)

logins = Table(  # the last use of each key and password; the last one alone: events have the others
    "logins",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("credential", String(64), primary_key=True),  # the fingerprint of the line in authorized_keys, or "password"
    Column("at", UtcTime, nullable=False),
    Column("address", String(64), nullable=False),
    Column("client", Text, nullable=False),
)

# Sources of connections whose logins failed, and what an admin banned. Not a part of any record: it may be emptied.
bans = Table(
    "bans",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("score", Float, nullable=False),
    Column("scored_at", UtcTime, nullable=False),
    Column("bans", Integer, nullable=False),
    Column("banned_at", UtcTime),
    Column("banned_until", UtcTime),
    Column("by_admin", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Index("bans_scored", "scored_at"),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
