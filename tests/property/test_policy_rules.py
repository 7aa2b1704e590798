"""Properties of the pure rules that hold for whatever a client sends."""

from __future__ import annotations

import sys
import unicodedata
from datetime import datetime
from itertools import islice
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import IllegalTransition, NameRefused, PlaceRefused, TooScattered
from sftpgate.policy.access import Zone, locate, require_writable
from sftpgate.policy.appending import AppendPlacement
from sftpgate.policy.checks import CHECKS, Candidate, first_objection, objections
from sftpgate.policy.clients import FAMILIES, Family
from sftpgate.policy.coverage import MAX_RANGES, Coverage
from sftpgate.policy.evidence import Grade, Signs, WriteTrace, judged, needs_ending, said
from sftpgate.policy.formats import FormatFinding, Wholeness
from sftpgate.policy.lifecycle import (
    TRANSITIONS,
    UNCLAIMED_STATES,
    UPLOAD_TRANSITIONS,
    Area,
    ArrivalEvent,
    ArrivalState,
    HoldReason,
    UploadEvent,
    UploadState,
    after,
    upload_after,
)
from sftpgate.policy.locations import area_of, location, path_in
from sftpgate.policy.names import (
    MAX_NAME_BYTES,
    NameRules,
    VirtualPath,
    check_storable,
    folded,
    is_managed,
    is_storable,
    join,
    normalise,
    parent,
    split,
)
from sftpgate.policy.placement import Fate, Placement, Situation, fate_of_earlier, place
from sftpgate.policy.pointers import is_pattern, matches
from sftpgate.policy.stamps import archive_names, report_names, split_suffix, tryback_names
from sftpgate.policy.texts import TextEnd

MOUNTS = st.sampled_from([VirtualPath("/sync"), VirtualPath("/var/moodledata/sync")])
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
PATHISH = st.text(alphabet="./ab\\é\n~*_-", max_size=60) | TEXT
NAMES = TEXT.map(lambda text: text.replace("/", "-").replace("\0", "")).filter(lambda name: name not in ("", ".", ".."))
LOCAL_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001 - the server's local time
GRADES = st.sampled_from(list(Grade))


# -- names and places --------------------------------------------------------------------------------------------------


@pytest.mark.promise("P6")
@given(PATHISH, MOUNTS)
def test_a_normal_form_has_no_dots_and_does_not_climb(text: str, mount: VirtualPath) -> None:
    """Whatever the text is, its normal form is absolute, without dots and empty parts, and its own normal form."""
    try:
        path = normalise(text.encode(), mount)
    except NameRefused:
        assert len(text.encode()) > 3072
        return
    assert path.startswith("/") and not {"", ".", ".."} & set(path.split("/")[1:]) - ({""} if path == "/" else set())
    assert normalise(path.encode(), VirtualPath("/elsewhere")) == path
    assert "/" + "/".join(split(path)) == path


@pytest.mark.promise("P7")
@given(st.binary(max_size=60), MOUNTS)
def test_any_bytes_are_a_path_or_refused(raw: bytes, mount: VirtualPath) -> None:
    """Bytes that are no UTF-8 text, or have a NUL, are refused by a rule's name, and others are a path."""
    try:
        path = normalise(raw, mount)
    except NameRefused as error:
        assert "UTF-8" in error.message or "NUL" in error.message
        return
    raw.decode()
    assert path.encode().decode() == path


@pytest.mark.promise("P6")
@given(PATHISH, MOUNTS)
def test_what_is_writable_is_in_the_drop(text: str, mount: VirtualPath) -> None:
    """A path that may be written lies below the mount, and neither it nor a directory of it is one of ours."""
    path = normalise(text.encode(), mount)
    found = locate(path, mount)
    try:
        inner = require_writable(found, mount)
    except PlaceRefused as error:
        assert "rule:" in error.message and "\n" not in error.message.replace(split(path)[-1] if split(path) else "", "")
        return
    assert found.zone is Zone.DROP and f"{mount}/{inner}" == path
    top = split(inner)[0]
    assert folded(top) not in ("archives", "reports") and not any(is_managed(part) for part in split(inner))


@pytest.mark.promise("P6")
@given(st.sampled_from(["archives", "reports", ".sftpgate"]), st.lists(st.booleans(), min_size=10, max_size=10), st.booleans())
def test_reserved_names_are_known_in_any_spelling(name: str, upper: list[bool], wide: bool) -> None:
    """Letter case, full-width letters and trailing dots and spaces make no other name of a reserved one."""
    spelled = "".join(c.upper() if up else c for c, up in zip(name, upper, strict=False))
    if wide:
        spelled = "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in spelled)
    for variant in (spelled, spelled + ".", spelled + ". "):
        place_ = locate(VirtualPath(f"/sync/{variant}/x"), VirtualPath("/sync"))
        assert place_.zone is Zone.RESERVED, variant


@pytest.mark.promise("P7")
@given(NAMES)
def test_what_can_be_stored_can_be_stored(name: str) -> None:
    """A name is refused where it is too long, has control characters, or is ours, and accepted otherwise."""
    bad = (
        len(name.encode()) > MAX_NAME_BYTES
        or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name)
        or is_managed(name)
    )
    assert is_storable(name) is not bad
    if bad:
        with pytest.raises(NameRefused):
            check_storable(f"sub/{name}/a.csv")
    else:
        check_storable(f"sub/{name}/a.csv")


@given(NAMES, NAMES)
def test_parents_and_names(one: str, two: str) -> None:
    """A path is its directory and its name."""
    assert parent(join(one, two)) == one and parent(one) == "" and join("", one) == one
    where = location(Area.STORE, join(one, two))
    assert (area_of(where), path_in(where)) == (Area.STORE, join(one, two))


@pytest.mark.promise("P1")
@given(NAMES, NAMES)
def test_a_name_is_as_eligible_as_its_directory(directory: str, name: str) -> None:
    """Below a directory that is never taken nothing is, and a temporary suffix makes any name one that waits."""
    rules = NameRules()
    if directory.startswith((".", "_")):
        assert not rules.eligible(f"{directory}/{name}")
    for suffix in (*rules.ignored_suffixes, *rules.companion_suffixes):
        assert not rules.eligible(name + suffix) and not rules.eligible(name + suffix.upper())


# -- evidence ----------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "cut"]), st.integers(0, 50), st.integers(0, 15)),
    max_size=20,
)


@pytest.mark.promise("P1")
@given(STEPS, st.integers(0, 20))
def test_coverage_is_a_set_of_bytes(steps: list[tuple[str, int, int]], existing: int) -> None:
    """After any writes and cuts the first gap is that of a plain set of bytes, for any size."""
    coverage, model = Coverage(existing), set(range(existing))
    for act, start, length in steps:
        if act == "add":
            coverage.add(start, start + length)
            model |= set(range(start, start + length))
        else:
            coverage.truncate(start)
            model = {byte for byte in model if byte < start}
        runs = sum(byte - 1 not in model for byte in model)
        assert coverage.range_count == runs
        for size in (max(model, default=-1) + 1, 40, 80):
            missing = [byte for byte in range(size) if byte not in model]
            gap = coverage.first_gap(size)
            assert (gap is None) == (not missing)
            if gap is not None:
                assert gap[0] == missing[0] < gap[1] <= size
                assert not model & set(range(*gap)) and (gap[1] == size or gap[1] in model)


TRACES = st.builds(
    WriteTrace,
    size=st.integers(0, 10**6),
    declared_size=st.none() | st.integers(0, 10**6),
    writes=st.integers(0, 50),
    last_write_bytes=st.integers(0, 300_000),
    longest_write_bytes=st.integers(0, 300_000),
    short_writes=st.integers(0, 50),
    existing_bytes=st.integers(0, 9),
    stated=st.booleans(),
    cut_back=st.booleans(),
)
FINDINGS = st.builds(FormatFinding, st.sampled_from(Wholeness))


@pytest.mark.promise("P1")
@given(TRACES, st.sampled_from(FAMILIES), FINDINGS, st.sampled_from(TextEnd), st.none() | st.booleans())
def test_evidence(trace: WriteTrace, family: Family, finding: FormatFinding, ending: TextEnd, before: bool | None) -> None:
    """A declared size decides alone, then a format that carries its end; a full write is never believed of who closes after
    an abort, and the ending counts only where it is asked for.
    """
    said_so = said(trace, family)
    if trace.declared_size is not None and not trace.cut_back:
        assert said_so is not None
        assert said_so.grade is (Grade.PROVEN if trace.declared_size == trace.size else Grade.SUSPECT)
    found = judged(trace, family, finding, Signs(ending=ending, ended_before=before))
    assert str(found.why)
    match finding.wholeness:
        case Wholeness.WHOLE:
            assert found.grade is Grade.PROVEN
        case Wholeness.CUT:
            assert found.grade is Grade.SUSPECT
        case Wholeness.OPEN:
            assert found.grade in (Grade.PLAUSIBLE, Grade.SUSPECT)
            if family.closes_after_abort and trace.writes and trace.last_write_bytes in family.full_writes:
                assert found.grade is Grade.SUSPECT
            if not family.closes_after_abort:
                assert found.grade is Grade.PLAUSIBLE
    if not needs_ending(trace, family, finding):
        assert judged(trace, family, finding) == found
    if ending in (TextEnd.LINE, TextEnd.NO_TEXT):
        assert judged(trace, family, finding, Signs(ending=ending)) == found, "history speaks of lines that do not end"


# -- states ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
@given(st.sampled_from(list(ArrivalState)), st.sampled_from(list(ArrivalEvent)))
def test_arrivals_go_by_the_table(state: ArrivalState, event: ArrivalEvent) -> None:
    """Each event on each state is in the table, or raises and names both."""
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition) as caught:
            after(state, event)
        assert (caught.value.state, caught.value.event) == (state, event)


@pytest.mark.promise("P1")
@given(st.sampled_from(list(UploadState)), st.sampled_from(list(UploadEvent)))
def test_uploads_go_by_the_table(state: UploadState, event: UploadEvent) -> None:
    """An upload that failed or was removed is never published, and one that ended stays so."""
    if (state, event) in UPLOAD_TRANSITIONS:
        found = upload_after(state, event)
        assert found is not UploadState.PUBLISHED or state is UploadState.OPEN
        assert state not in (UploadState.PUBLISHED, UploadState.DISCARDED)
    else:
        with pytest.raises(IllegalTransition):
            upload_after(state, event)


CANDIDATES = st.builds(
    Candidate,
    grade=GRADES,
    doubt=TEXT,
    checksum_matches=st.none() | st.booleans(),
    mismatch=NAMES,
    has_done_file=st.booleans(),
    batch_lock=st.none() | NAMES,
    is_skipped=st.booleans(),
    require_done_file=st.booleans(),
    publish_suspect=st.booleans(),
)
SITUATIONS = st.builds(Situation, file=CANDIDATES, eligible=st.booleans(), queued=st.booleans(), occupied=st.booleans())


@pytest.mark.promise("P1")
@given(SITUATIONS)
def test_what_is_published_is_fit_for_it(situation: Situation) -> None:
    """A file reaches runners only under an eligible name, not doubted, not locked, and with what it has to wait for."""
    found, file = place(situation), situation.file
    assert (found.hold_reason is not None) == (found.state is ArrivalState.HELD)
    if found.state in (ArrivalState.WAITING, ArrivalState.QUEUED):
        assert situation.eligible and file.batch_lock is None and not file.is_skipped
        assert file.checksum_matches is not False or file.grade is Grade.VERIFIED
        assert file.has_done_file or not file.require_done_file
        proven = file.checksum_matches or file.has_done_file or file.publish_suspect
        assert file.grade is not Grade.SUSPECT or proven
        assert (found.state is ArrivalState.QUEUED) == (situation.queued and situation.occupied)
    assert (found.state is ArrivalState.IGNORED) == (not situation.eligible)


@pytest.mark.promise("P7")
@given(CANDIDATES)
def test_the_first_objection_holds(file: Candidate) -> None:
    """A file is held by the first check that objects, in the order of the list; each detail is one printable line."""
    found = list(objections(file))
    assert first_objection(file) == (found[0] if found else None)
    order = [check.reason for check in CHECKS]
    assert [order.index(each.reason) for each in found] == sorted({order.index(each.reason) for each in found})
    assert all(each.detail.isprintable() for each in found)


PLACEMENTS = st.sampled_from(
    [Placement(state) for state in sorted(UNCLAIMED_STATES - {ArrivalState.HELD})]
    + [Placement(ArrivalState.HELD, reason) for reason in HoldReason]
)


@pytest.mark.promise("P3")
@given(PLACEMENTS, PLACEMENTS, st.booleans())
def test_nothing_meant_for_a_runner_is_dropped(earlier: Placement, new: Placement, queued: bool) -> None:
    """Only a file under a name that is never taken is overwritten; what waits in a queue makes way for nobody."""
    fate = fate_of_earlier(earlier, new, queued=queued)
    if fate is Fate.DROPPED:
        assert earlier.state is new.state is ArrivalState.IGNORED
    if queued and earlier.state in (ArrivalState.WAITING, ArrivalState.QUEUED):
        assert fate is Fate.STAYS
    if new.state is ArrivalState.HELD and earlier.state is ArrivalState.WAITING:
        assert fate is Fate.STAYS


# -- stamped names -----------------------------------------------------------------------------------------------------

FILE_NAMES = st.text(alphabet="aé学😀.-_ ", min_size=1, max_size=255).filter(
    lambda name: len(name.encode()) <= 255 and name not in (".", "..")
)


@pytest.mark.promise("P3")
@given(FILE_NAMES, LOCAL_TIMES)
def test_stamped_names_fit_and_differ(name: str, at: datetime) -> None:
    """Each stamped name fits the disk, none comes twice, and each is a name of one component."""
    for names in (archive_names(name, at), report_names(name, at), tryback_names(name, at)):
        found = list(islice(names, 25))
        assert len(set(found)) == 25
        assert all(0 < len(each.encode()) <= MAX_NAME_BYTES and "/" not in each and each not in (".", "..") for each in found)


@pytest.mark.promise("P3")
@given(FILE_NAMES.filter(lambda name: len(name.encode()) <= 200), LOCAL_TIMES)
def test_stamped_names_keep_what_people_search_for(name: str, at: datetime) -> None:
    """A name that fits is there whole behind its stamp, and its suffix is the last thing."""
    stamp = f"{at:%Y%m%d-%H%M}"
    first, second = islice(archive_names(name, at), 2)
    assert first == f"{stamp}_{name}"
    assert second.endswith(split_suffix(name)[1]) and second.startswith(f"{stamp}_{split_suffix(name)[0]}")
    assert "".join(split_suffix(name)) == name


# -- patterns ----------------------------------------------------------------------------------------------------------


@given(NAMES)
def test_a_plain_name_fits_itself_only(name: str) -> None:
    """A name without a star or question mark is no pattern: it fits itself and nothing else, whatever is in it."""
    if not is_pattern(name):
        assert matches(name, name)
        assert not matches(name, name + "x") and not matches(name, "x" + name) and not matches(name, f"sub/{name}")


@given(st.text(alphabet="ab*?/", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_patterns_stay_in_their_directory(pattern: str, path: str) -> None:
    """A star and a question mark fit no slash, so a pattern fits paths of its own depth only."""
    if matches(pattern, path):
        assert pattern.count("/") == path.count("/")


@pytest.mark.promise("P1")
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12), st.integers(0, 60), st.integers(0, 30))
def test_the_written_parts_of_a_range(writes: list[tuple[int, int]], start: int, length: int) -> None:
    """The written parts of a range are exactly its bytes that were written."""
    coverage, model = Coverage(), set[int]()
    for at, count in writes:
        coverage.add(at, at + count)
        model |= set(range(at, at + count))
    found = [byte for low, high in coverage.within(start, start + length) for byte in range(low, high)]
    assert found == sorted(byte for byte in model if start <= byte < start + length)


@pytest.mark.promise("P1")
@given(st.integers(1, 50), st.lists(st.integers(1, 9), min_size=1, max_size=12), st.booleans(), st.randoms())
def test_where_appends_go(existing: int, lengths: list[int], from_zero: bool, random: Random) -> None:
    """Writes with APPEND lie one behind the other at the end, counted from 0 or from the file's beginning, and in any order
    where the first one tells which.
    """
    offsets = [sum(lengths[:number]) for number in range(len(lengths))]
    rest = list(range(1, len(lengths)))
    random.shuffle(rest)
    placement, size = AppendPlacement(existing), existing
    for number in (0, *rest):
        place = placement.place(offsets[number] + (0 if from_zero else existing), size)
        assert place == existing + offsets[number]
        size = max(size, place + lengths[number])


def test_scattered_writes_cost_what_writes_in_order_cost() -> None:
    """A write at every second offset, up to the bound, costs a few times as much as writes in order, however many there are."""

    def cost(count: int, step: int) -> int:
        coverage, lines = Coverage(), 0

        def count_line(_frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return count_line

        before = sys.gettrace()
        sys.settrace(count_line)
        try:
            for number in range(count):
                coverage.add(number * step, number * step + 1)
        finally:
            sys.settrace(before)
        return lines

    assert cost(MAX_RANGES, 2) < 5 * cost(MAX_RANGES, 1)
    with pytest.raises(TooScattered):
        cost(MAX_RANGES + 1, 2)
