"""Is a closed upload complete? (promise P1)

Pure. A CLOSE alone proves nothing: OpenSSH's own client sends it after Ctrl-C, and so does every program that closes in
``finally``. Three layers of evidence are asked in this order, and the first that knows decides (docs/promises.md):

- what the client said: a size that it declared, or stated at the end;
- what the content says of itself: a format that carries its own end (``formats``);
- how the bytes came: the client's family (``clients``) and its last write; where that leaves it open, how the text ends
  (``texts``) and how earlier files of the path ended.

What is doubted then is believed all the same when the same content comes a second time. Neither error is made for long: a part
is not published, and a good file is not held each time that it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from sftpgate.policy.clients import Family
from sftpgate.policy.formats import Finding, Wholeness
from sftpgate.policy.texts import Ending


class Grade(StrEnum):
    """How sure it is that an upload is complete."""

    VERIFIED = "verified"  # a checksum file matched its content: one that differs speaks of another file of the name
    PROVEN = "proven"
    PLAUSIBLE = "plausible"
    SUSPECT = "suspect"


# Lengths of full writes that libraries in use have, for a client that is not known: whole KiB from here on, and these odd ones.
SMALLEST_BLOCK = 4096
ODD_FULL_WRITES = frozenset({30000, 32000, 32597, 32739})
# Odd lengths up to 32 KiB are the full writes of libraries that count the packet's head in: a single write of such a length
# leaves it open whether there was to be more.
ODD_LENGTHS = range(16384, 32768 + 1)
UNKNOWN_BUFFER = 16 * 1024  # what programs read at a time is this, or a multiple of it; they may send it in several writes
ROUND_BYTES = 1024 * 1024
LEAST_REPEATED = 1024  # shorter writes of one length are a program's own records


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTrace:
    """What is known of how the bytes of an upload came in.

    ``longest_write_bytes`` is the longest write of the whole SFTP session so far, ``last_write_bytes`` the length of
    the write that ends at the end of the file, ``short_writes`` the number of writes of this upload shorter than its
    own longest. ``existing_bytes`` were there before it was opened; ``stated``: its client set the size to what it had written,
    from the start, as its last act.
    """

    size: int
    declared_size: int | None
    writes: int
    last_write_bytes: int
    longest_write_bytes: int
    short_writes: int
    existing_bytes: int = 0
    stated: bool = False
    cut_back: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade, and why: a part of a sentence."""

    grade: Grade
    why: str


class Shape(Enum):
    """What the last write says about the end."""

    SHORT = "short"  # a write that the client makes at the end of a file only
    UNSURE = "unsure"
    FULL = "full"  # the client may have broken off here


def shape(trace: WriteTrace, family: Family) -> Shape:
    """What the writes of an upload say about its end."""
    last = trace.last_write_bytes
    if last in family.full_writes or (family.buffer and trace.size % family.buffer == 0):
        return Shape.FULL
    repeated = trace.writes - trace.short_writes > 1 and last == trace.longest_write_bytes
    is_known = bool(family.full_writes)
    if not is_known and trace.writes > 1 and trace.size % UNKNOWN_BUFFER == 0:
        return Shape.FULL
    if not is_known and last < trace.longest_write_bytes:
        return Shape.SHORT
    if not is_known and (last in ODD_FULL_WRITES or (last >= SMALLEST_BLOCK and last % 1024 == 0)):
        return Shape.FULL if repeated or last in ODD_FULL_WRITES or not last & (last - 1) else Shape.UNSURE
    if repeated and last >= LEAST_REPEATED:
        return Shape.FULL if family.is_program else Shape.UNSURE
    if not is_known and last in ODD_LENGTHS:
        return Shape.UNSURE
    return Shape.SHORT


def said(trace: WriteTrace, family: Family) -> Verdict | None:
    """What the client said about its upload, or None. It decides, whatever the content looks like."""
    if trace.cut_back:
        return Verdict(Grade.SUSPECT, "it was cut back, and not written anew")
    if trace.declared_size is not None:
        if trace.declared_size == trace.size:
            return Verdict(Grade.PROVEN, "it has the size that its client declared")
        return Verdict(Grade.SUSPECT, f"its client declared {trace.declared_size} bytes, and {trace.size} came")
    if trace.stated and family.states_size:
        return Verdict(Grade.PROVEN, "its client stated its size at the end")
    return None


def judged(
    trace: WriteTrace,
    family: Family,
    finding: Finding,
    *,
    ending: Ending | None,
    ended_before: bool | None = None,
    on_purpose: bool = False,
) -> Verdict:
    """The verdict on an upload without gaps of which its client said nothing.

    ``ending`` may be None where ``needs_ending`` says so; ``ended_before``: whether the earlier files of the path ended with a
    line end, None where that is not known. ``on_purpose``: it ends a line where its blocks do not (``texts.ends_on_purpose``);
    asked for where ``may_end_on_purpose`` gives the length of a block.
    """
    if finding.wholeness is Wholeness.CUT:
        return Verdict(Grade.SUSPECT, f"it is {finding.format}, and its end is missing or breaks off")
    if finding.wholeness is Wholeness.WHOLE:
        return Verdict(Grade.PROVEN, f"it is {finding.format} with its end")
    if not family.closes_after_abort:
        return Verdict(Grade.PLAUSIBLE, f"{family.name} closes a file only when it is complete")
    if not trace.writes:
        if trace.existing_bytes:
            return Verdict(Grade.SUSPECT, "it was opened to be continued, and nothing was written")
        return Verdict(Grade.PLAUSIBLE, "it is empty")
    found = shape(trace, family)
    if found is Shape.FULL and on_purpose:
        return Verdict(Grade.PLAUSIBLE, "it is a text of a round size, and ends with a line where its full writes do not")
    if found is Shape.FULL:
        return Verdict(Grade.SUSPECT, "it ends with a full write: its client may have been interrupted there")
    if found is Shape.SHORT and family.full_writes:
        return Verdict(Grade.PLAUSIBLE, "it ends with a short write, as a complete file does")
    if ending is Ending.RAGGED and ended_before is not False:
        return Verdict(Grade.SUSPECT, "its last line is shorter than every line before")
    if found is Shape.UNSURE and ending is Ending.INSIDE_LINE and ended_before is not False:
        return Verdict(Grade.SUSPECT, "it ends inside a line, and its last write may be a full one")
    return Verdict(Grade.PLAUSIBLE, "nothing speaks against it")


def needs_ending(trace: WriteTrace, family: Family, finding: Finding) -> bool:
    """Whether ``judged`` asks how the text ends."""
    if finding.wholeness is not Wholeness.OPEN or not family.closes_after_abort or not trace.writes:
        return False
    found = shape(trace, family)
    return found is Shape.UNSURE or (found is Shape.SHORT and not family.full_writes)


def may_end_on_purpose(trace: WriteTrace, family: Family) -> int:
    """The length of a block of an upload whose size may be one that somebody chose: a power of two or whole MiB; else 0. An
    interrupted one has such a size once in 32 times.
    """
    is_round = trace.size % ROUND_BYTES == 0 or not trace.size & (trace.size - 1)
    if not is_round or not trace.last_write_bytes:
        return 0
    last = trace.last_write_bytes
    return last if trace.size % last == 0 else family.buffer or UNKNOWN_BUFFER


SENT_TWICE = Verdict(Grade.PROVEN, "the same content was sent before")
