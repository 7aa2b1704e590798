"""Is a closed upload complete? (promise P1)

Pure. A CLOSE alone proves nothing: OpenSSH's own client sends it after Ctrl-C, and so does every program that closes in
``finally``. Three layers of evidence are asked in this order, and the first that knows decides (docs/promises.md):

- what the client said: a size that it declared, or stated at the end;
- what the content says of itself: a format that carries its own end (``formats``);
- how the bytes came: the client's family (``clients``) and its last write; if that leaves it open, how the text ends
  (``texts``) and how earlier files of the path ended.

What is doubted then is believed all the same when the same content comes a second time. Neither error is made for long: a part
is not published, and a good file is not held each time that it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from sftpgate.policy.clients import Family
from sftpgate.policy.formats import FormatFinding, Wholeness
from sftpgate.policy.phrases import Sentence, sentence
from sftpgate.policy.texts import TextEnd


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
LEAST_REPEATED = 1024  # shorter writes of one length are an application's own records, if a library sends them
LEAST_EARLIER = 3  # files of a path, each with a size that is like the others', that make a habit
LIKE = 100  # sizes are alike if they differ by less than one part in so many: one in fifty interrupted uploads has such a size


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
class GradedEvidence:
    """A grade, and why: a part of a sentence."""

    grade: Grade
    why: Sentence


class Shape(Enum):
    """What the last write says about the end."""

    SHORT = "short"  # a write that the client makes at the end of a file only
    UNSURE = "unsure"
    FULL = "full"  # the client may have broken off here


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What closer looks have found; each is asked for only if it may decide.

    ``ending``: how the text ends, if ``needs_ending``. The others count for what is doubted without them. ``ended_before``:
    whether the earlier files of the path ended with a line end; None if that is not known. ``on_purpose``: it has a size that
    somebody chose, and ends a line where its blocks do not (``texts.ends_on_purpose``). ``pieces_are_lines``: its blocks end
    lines too, as those of an application that writes line by line. ``is_usual``: see ``has_usual_size``.
    """

    ending: TextEnd | None = None
    ended_before: bool | None = None
    on_purpose: bool = False
    pieces_are_lines: bool = False
    is_usual: bool = False


NO_SIGNS = Signs()


def shape(trace: WriteTrace, family: Family) -> Shape:
    """Return what the writes of an upload say about its end."""
    last = trace.last_write_bytes
    if last in family.full_writes or (family.buffer and trace.size % family.buffer == 0):
        return Shape.FULL
    repeated = _is_repeated(trace)
    is_known = bool(family.full_writes)
    if not is_known and trace.writes > 1 and trace.size % UNKNOWN_BUFFER == 0:
        return Shape.FULL
    if not is_known and last < trace.longest_write_bytes:
        return Shape.SHORT
    if not is_known and (last in ODD_FULL_WRITES or (last >= SMALLEST_BLOCK and last % 1024 == 0)):
        return Shape.FULL if repeated or last in ODD_FULL_WRITES or not last & (last - 1) else Shape.UNSURE
    if repeated and family.is_program:
        return Shape.FULL
    if repeated and last >= LEAST_REPEATED:
        return Shape.UNSURE
    if not is_known and last in ODD_LENGTHS:
        return Shape.UNSURE
    return Shape.SHORT


def _is_repeated(trace: WriteTrace) -> bool:
    """Return whether the last write is as long as others of the upload, and none of the session is longer."""
    return trace.writes - trace.short_writes > 1 and trace.last_write_bytes == trace.longest_write_bytes


def said(trace: WriteTrace, family: Family) -> GradedEvidence | None:
    """Return what the client said about its upload, or None. It decides, whatever the content looks like."""
    if trace.cut_back:
        return GradedEvidence(Grade.SUSPECT, sentence("it was cut back, and not written anew"))
    if trace.declared_size is not None:
        if trace.declared_size == trace.size:
            return GradedEvidence(Grade.PROVEN, sentence("it has the size that its client declared"))
        return GradedEvidence(
            Grade.SUSPECT,
            sentence("its client declared {declared} bytes, and {size} came", declared=trace.declared_size, size=trace.size),
        )
    if trace.stated and family.states_size:
        return GradedEvidence(Grade.PROVEN, sentence("its client stated its size at the end"))
    return None


def judged(trace: WriteTrace, family: Family, finding: FormatFinding, signs: Signs = NO_SIGNS) -> GradedEvidence:
    """Return the verdict on an upload without gaps of which its client said nothing."""
    if finding.wholeness is Wholeness.CUT:
        return GradedEvidence(
            Grade.SUSPECT, sentence("it is {format}, and its end is missing or breaks off", format=finding.format)
        )
    if finding.wholeness is Wholeness.WHOLE:
        return GradedEvidence(Grade.PROVEN, sentence("it is {format} with its end", format=finding.format))
    if not family.closes_after_abort:
        return GradedEvidence(Grade.PLAUSIBLE, sentence("{client} closes a file only when it is complete", client=family.name))
    if not trace.writes:
        if trace.existing_bytes:
            return GradedEvidence(Grade.SUSPECT, sentence("it was opened to be continued, and nothing was written"))
        return GradedEvidence(Grade.PLAUSIBLE, sentence("it is empty"))
    found = shape(trace, family)
    if found is Shape.SHORT and family.full_writes:
        return GradedEvidence(Grade.PLAUSIBLE, sentence("it ends with a short write, as a complete file does"))
    if found is Shape.FULL:
        return _of_full_writes(signs, sentence("it ends with a full write: its client may have been interrupted there"))
    if is_all_pieces(trace, family) and not _are_lines(signs):
        return _of_full_writes(signs, sentence("all its writes have one length: its client may have been interrupted behind one"))
    return _of_its_ending(found, signs)


def _of_full_writes(signs: Signs, why: Sentence) -> GradedEvidence:
    """Return the verdict on what may have been interrupted behind a full write; ``why`` it is doubted."""
    if signs.on_purpose:
        return GradedEvidence(
            Grade.PLAUSIBLE, sentence("it is a text of a round size, and ends with a line where its full writes do not")
        )
    if signs.is_usual:
        return GradedEvidence(Grade.PLAUSIBLE, sentence("it has the size that the earlier files of its path have"))
    return GradedEvidence(Grade.SUSPECT, why)


def _are_lines(signs: Signs) -> bool:
    """Return whether equal writes may be an application's own: lines, or what breaks off inside one, which is judged by that."""
    return signs.pieces_are_lines or signs.ending in (TextEnd.INSIDE_LINE, TextEnd.RAGGED)


def _of_its_ending(found: Shape, signs: Signs) -> GradedEvidence:
    """Return the verdict on what has nothing but its last line to judge by."""
    if signs.ending is TextEnd.RAGGED and signs.ended_before is not False:
        return GradedEvidence(Grade.SUSPECT, sentence("its last line is shorter than every line before"))
    if found is Shape.UNSURE and signs.ending is TextEnd.INSIDE_LINE and signs.ended_before is not False:
        return GradedEvidence(Grade.SUSPECT, sentence("it ends inside a line, and its last write may be a full one"))
    return GradedEvidence(Grade.PLAUSIBLE, sentence("nothing speaks against it"))


def is_all_pieces(trace: WriteTrace, family: Family) -> bool:
    """Return whether a new upload consists of writes of one length, and that is no length of which anything is known."""
    is_repeated = _is_repeated(trace) and trace.last_write_bytes >= LEAST_REPEATED
    return is_repeated and not (trace.short_writes or trace.existing_bytes) and shape(trace, family) is Shape.UNSURE


def needs_ending(trace: WriteTrace, family: Family, finding: FormatFinding) -> bool:
    """Return whether ``judged`` asks how the text ends."""
    if finding.wholeness is not Wholeness.OPEN or not family.closes_after_abort or not trace.writes:
        return False
    found = shape(trace, family)
    return found is Shape.UNSURE or (found is Shape.SHORT and not family.full_writes)


def has_round_size(trace: WriteTrace) -> bool:
    """Return whether somebody may have chosen the size of an upload: a power of two, or whole MiB. An interrupted one has such a
    size once in 32 times.
    """
    return trace.size % ROUND_BYTES == 0 or not trace.size & (trace.size - 1)


def block_of(trace: WriteTrace, family: Family) -> int:
    """Return the length of the blocks behind which an upload may have been interrupted; 0 if nothing was written."""
    last = trace.last_write_bytes
    return last if not last or trace.size % last == 0 else family.buffer or UNKNOWN_BUFFER


def has_usual_size(size: int, earlier: Sequence[tuple[int, str]], *, ends_line: bool) -> bool:
    """Return whether a file has the size that its path's earlier files have, of which ``earlier`` has sizes and hashes, and which
    were not doubted: just that one, or nearly that one and ``ends_line``, where its blocks do not.

    An interrupted upload meets the very size only if the file was to be longer than it ever was; a size like that once in some
    fifty times, and then the end of a line as often.
    """
    if len({sha256 for _, sha256 in earlier}) < LEAST_EARLIER:
        return False
    largest = max(abs(size - other) for other, _ in earlier)
    return largest == 0 or (ends_line and largest * LIKE < size)


SENT_TWICE = GradedEvidence(Grade.PROVEN, sentence("the same content was sent before"))
