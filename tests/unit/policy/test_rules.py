"""The pure rules: names and places, evidence, states, placement, stamped names."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import IllegalTransition, NameRefused, PlaceRefused
from sftpgate.policy.access import Zone, locate, require_writable
from sftpgate.policy.coverage import Coverage
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import (
    FINAL_STATES,
    LIVE_STATES,
    PLACE_OF,
    TRANSITIONS,
    ArrivalEvent,
    ArrivalState,
    HoldReason,
    after,
)
from sftpgate.policy.names import Eligibility, NameRules, VirtualPath, check_storable, normalise
from sftpgate.policy.placement import Fate, Placement, Situation, fate_of_earlier, place
from sftpgate.policy.stamps import archive_names, report_names, tryback_names
from sftpgate.policy.tools import matches
from sftpgate.settings import Settings

MOUNT = VirtualPath("/sync")
RULES = NameRules()
AT = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - a local time of the server, as archive names have it


def test_one_list_of_names_that_are_never_taken() -> None:
    """What the settings say by default of names is what the rules say: there is one list of each."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for rule in (rule for rule in fields(NameRules) if rule.init):
        assert getattr(RULES, rule.name) is defaults[rule.name]


# -- names and places --------------------------------------------------------------------------------------------------


@given(st.text(alphabet="a./é\\ _", max_size=40))
def test_normal_form_never_climbs(text: str) -> None:
    """P6: whatever a client sends, the path is absolute, without dots or empty parts, and stable."""
    path = normalise(text.encode(), MOUNT)
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/")) or path == "/"
    assert normalise(path.encode(), VirtualPath("/elsewhere")) == path


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        ("/", Zone.ROOT),
        ("/sync", Zone.DROP),
        ("/sync/x.csv", Zone.DROP),
        ("/sync/sub/archives", Zone.DROP),
        ("/sync/archives", Zone.RESERVED),
        ("/sync/Reports/x", Zone.RESERVED),
        ("/sync/ＡＲＣＨＩＶＥＳ/x", Zone.RESERVED),
        ("/sync/reports. /x", Zone.RESERVED),
        ("/sync/a/.SFTPGATE-1", Zone.RESERVED),
        ("/archives/x", Zone.ARCHIVES),
        ("/reports", Zone.REPORTS),
        ("/Archives", Zone.NOWHERE),
        ("/syncx", Zone.NOWHERE),
    ],
)
def test_zones(path: str, zone: Zone) -> None:
    """P6: each path lies in one zone; reserved names are known in any letter case and Unicode form."""
    found = locate(VirtualPath(path), MOUNT)
    assert found.zone is zone
    if zone is Zone.DROP and path != "/sync":
        assert require_writable(found, MOUNT) == path.removeprefix("/sync/")
    else:
        with pytest.raises(PlaceRefused, match="rule"):
            require_writable(found, MOUNT)


def test_mount_of_several_parts() -> None:
    """The directories above a long mount are read-only, and the drop is where the mount says."""
    mount = VirtualPath("/var/moodledata/sync")
    assert locate(VirtualPath("/var"), mount).zone is Zone.ROOT
    assert locate(VirtualPath("/var/moodledata/sync/x"), mount).zone is Zone.DROP
    assert locate(VirtualPath("/var/x"), mount).zone is Zone.NOWHERE


@pytest.mark.parametrize("name", ["a\x1b[31m.csv", "a\nb", "x" * 256, "é" * 128, "a\u2028b", ".sftpgate", "/".join("a" * 65)])
def test_names_that_cannot_be_stored(name: str) -> None:
    """P7: control characters, more than 255 bytes, our own name and deep paths are refused in words."""
    with pytest.raises(NameRefused):
        check_storable(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("enrols.csv", Eligibility.ELIGIBLE),
        ("sub/enrols.csv", Eligibility.ELIGIBLE),
        (".hidden", Eligibility.HIDDEN),
        (".dir/x.csv", Eligibility.HIDDEN),
        ("_draft.csv", Eligibility.UNDERSCORE),
        ("x.csv.TMP", Eligibility.TEMPORARY),
        ("x.csv.1a2b.partial", Eligibility.TEMPORARY),
        ("x.csv~", Eligibility.TEMPORARY),
        ("x.csv.writing", Eligibility.TEMPORARY),
        ("x.csv.InProgress", Eligibility.TEMPORARY),
        ("x.csv.uploading", Eligibility.TEMPORARY),
        ("x.csv.incomplete", Eligibility.TEMPORARY),
        ("x.csv.Temp", Eligibility.TEMPORARY),
        ("x.csv.FILEPART", Eligibility.TEMPORARY),
        ("x.csv.ocTransferId498168872.part", Eligibility.TEMPORARY),
        ("x.csv.crdownload", Eligibility.TEMPORARY),
        ("x.csv.!uT", Eligibility.TEMPORARY),
        ("x.csv.BTS-WIP", Eligibility.TEMPORARY),
        ("x.csv.ea158102491446ca9e56e1dc8ab3b8a5", Eligibility.TEMPORARY),
        ("x.csv.EA158102491446CA9E56E1DC8AB3B8A5", Eligibility.TEMPORARY),
        ("x.csv.550e8400-e29b-41d4-a716-446655440000", Eligibility.TEMPORARY),
        ("x.csv.tmp.1234", Eligibility.TEMPORARY),
        ("x.csv.tmp1234", Eligibility.TEMPORARY),
        ("x.csv.tmp.1234.1700000000", Eligibility.TEMPORARY),
        ("x.csv.tmp.aB3dE9", Eligibility.TEMPORARY),
        ("x.csv.part-Frag12", Eligibility.TEMPORARY),
        ("~$x.xlsx", Eligibility.TEMPORARY),
        ("#x.csv#", Eligibility.TEMPORARY),
        ("x.csv.sha256", Eligibility.COMPANION),
        ("x.csv.MD5", Eligibility.COMPANION),
        ("x.csv.Done", Eligibility.COMPANION),
        ("alock.txt", Eligibility.LOCK),
        ("ALOCK.TXT", Eligibility.LOCK),
        ("aLoCk.tXt", Eligibility.LOCK),
        ("lock.txt", Eligibility.LOCK),
        # what a person may have called a file
        ("users.temp.csv", Eligibility.ELIGIBLE),
        ("users.tmp.csv", Eligibility.ELIGIBLE),
        ("users.temp.archive", Eligibility.ELIGIBLE),
        ("users.part1.csv", Eligibility.ELIGIBLE),
        ("users.csv.part1", Eligibility.ELIGIBLE),
        ("users.part-2.csv", Eligibility.ELIGIBLE),
        ("temp", Eligibility.ELIGIBLE),
        ("tmp_users.csv", Eligibility.ELIGIBLE),
        ("users_tmp", Eligibility.ELIGIBLE),
        ("writing.csv", Eligibility.ELIGIBLE),
        ("uploading", Eligibility.ELIGIBLE),
        ("users.20260102.csv", Eligibility.ELIGIBLE),
        ("users.20260102", Eligibility.ELIGIBLE),
        ("ea158102491446ca9e56e1dc8ab3b8a5", Eligibility.ELIGIBLE),
        ("ea158102491446ca9e56e1dc8ab3b8a5.csv", Eligibility.ELIGIBLE),
        ("users.d41d8cd98f00b204e9800998ecf8427e.csv", Eligibility.ELIGIBLE),
        ("users-550e8400-e29b-41d4-a716-446655440000.csv", Eligibility.ELIGIBLE),
    ],
)
def test_eligibility(name: str, expected: Eligibility) -> None:
    """Hidden, underscored, temporary, companion and lock names are never taken."""
    assert RULES.eligibility(name) is expected


def test_made_up_names_can_be_taken() -> None:
    """Whoever exports under a hash or a number can switch off the rule of made-up names, and the endings stay."""
    rules = NameRules(ignore_made_up=False)
    assert rules.eligible("x.csv.ea158102491446ca9e56e1dc8ab3b8a5") and rules.eligible("x.csv.tmp.1234")
    assert not rules.eligible("x.csv.tmp")


@given(st.sampled_from(["alock.txt", "x.csv.md5", "x.csv.sha256", "x.csv.done", "x.csv.ok", "x.tmp"]), st.integers(0))
def test_letter_case_does_not_matter(name: str, capitals: int) -> None:
    """A lock, a companion and a temporary name are the same in every letter case."""
    spelled = "".join(letter.upper() if capitals >> index & 1 else letter for index, letter in enumerate(name))
    assert RULES.eligibility(spelled) is RULES.eligibility(name)
    assert RULES.is_batch_lock(spelled, "") is (name == "alock.txt")


def test_a_lock_name_of_many_letters() -> None:
    """Of a long lock name the spellings that programs write count; another one is a file like any other, and not put aside."""
    rules = NameRules(batch_lock_name="BatchInProgress.lck", ignored_suffixes=())
    for name in ("BatchInProgress.lck", "batchinprogress.lck", "BATCHINPROGRESS.LCK"):
        assert rules.is_batch_lock(f"home/{name}", "home") and not rules.eligible(f"home/{name}")
    assert not rules.is_batch_lock("bAtChInPrOgReSs.LcK", "") and rules.eligible("bAtChInPrOgReSs.LcK")


def test_patterns_stay_in_their_directory() -> None:
    """A star does not match a slash: users*.csv never reaches archives/users.csv."""
    assert matches("users*.csv", "users-2.csv")
    assert not matches("*.csv", "archives/users.csv")


# -- evidence ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12), st.integers(0, 60))
def test_coverage_is_a_set_of_bytes(writes: list[tuple[int, int]], cut: int) -> None:
    """P1: the ranges of an upload say exactly which bytes were written."""
    coverage, model = Coverage(), set[int]()
    for start, length in writes:
        coverage.add(start, start + length)
        model |= set(range(start, start + length))
    coverage.truncate(cut)
    model = {byte for byte in model if byte < cut}
    size = max(model, default=-1) + 1
    missing = [byte for byte in range(size) if byte not in model]
    gap = coverage.first_gap(size)
    assert (gap[0] if gap else None) == (missing[0] if missing else None)


# -- states and placement ----------------------------------------------------------------------------------------------


def test_every_pair_is_decided() -> None:
    """Each event on each state is in the table or refused; what has ended stays ended."""
    for state, event in product(ArrivalState, ArrivalEvent):
        if (state, event) in TRANSITIONS:
            assert after(state, event) is TRANSITIONS[state, event]
            assert state in LIVE_STATES
        else:
            with pytest.raises(IllegalTransition):
                after(state, event)
    assert {*LIVE_STATES, *FINAL_STATES} == set(ArrivalState) == set(PLACE_OF)


def situation(**known: object) -> Situation:
    """An ordinary complete file, but for what is given."""
    usual = {"eligible": True, "grade": Grade.PLAUSIBLE, "batch_locked": False}
    return Situation(**(usual | known))  # type: ignore[arg-type]  # a table of keywords


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (situation(), Placement(ArrivalState.WAITING)),
        (situation(eligible=False, batch_locked=True), Placement(ArrivalState.IGNORED)),
        (situation(batch_locked=True), Placement(ArrivalState.HELD, HoldReason.BATCH_LOCK)),
        (situation(grade=Grade.SUSPECT), Placement(ArrivalState.HELD, HoldReason.INCOMPLETE)),
        (situation(grade=Grade.SUSPECT, publish_suspect=True), Placement(ArrivalState.WAITING)),
        (situation(grade=Grade.SUSPECT, checksum_matches=True), Placement(ArrivalState.WAITING)),
        (situation(checksum_matches=False, batch_locked=True), Placement(ArrivalState.HELD, HoldReason.CHECKSUM_MISMATCH)),
        (situation(require_done_file=True), Placement(ArrivalState.HELD, HoldReason.AWAITING_DONE)),
        (situation(require_done_file=True, has_done_file=True), Placement(ArrivalState.WAITING)),
        (situation(queued=True, occupied=True), Placement(ArrivalState.QUEUED)),
        (situation(queued=True), Placement(ArrivalState.WAITING)),
    ],
)
def test_placement(found: Situation, expected: Placement) -> None:
    """P1, P3: what the content says comes before what lies beside it, and that before the queue."""
    assert place(found) == expected


WAITING, HELD = Placement(ArrivalState.WAITING), Placement(ArrivalState.HELD, HoldReason.BATCH_LOCK)
SUSPECT, IGNORED = Placement(ArrivalState.HELD, HoldReason.INCOMPLETE), Placement(ArrivalState.IGNORED)


@pytest.mark.parametrize(
    ("earlier", "new", "queued", "expected"),
    [
        (WAITING, WAITING, False, Fate.ARCHIVED),
        (WAITING, Placement(ArrivalState.QUEUED), True, Fate.STAYS),
        (WAITING, SUSPECT, False, Fate.STAYS),
        (WAITING, HELD, False, Fate.STAYS),
        (HELD, HELD, False, Fate.ARCHIVED),
        (HELD, HELD, True, Fate.STAYS),
        (SUSPECT, WAITING, True, Fate.ARCHIVED),
        (IGNORED, IGNORED, False, Fate.DROPPED),
    ],
)
def test_fate_of_the_earlier_file(earlier: Placement, new: Placement, queued: bool, expected: Fate) -> None:
    """P3: what is meant for a runner is kept in the queue or the archives; a doubtful file takes nobody's place."""
    assert fate_of_earlier(earlier, new, queued=queued) is expected


# -- stamped names -----------------------------------------------------------------------------------------------------


def test_stamped_names() -> None:
    """Archives, reports and rejected lines have the names that scripts look for, and never the same one twice."""
    assert list(islice(archive_names("enrols.csv", AT), 2)) == ["20260102-0304_enrols.csv", "20260102-0304_enrols-2.csv"]
    assert next(iter(report_names("enrols.csv", AT))) == "20260102-0304_report_enrols.csv"
    assert next(iter(tryback_names("enrols.csv", AT))) == "enrols_tryback_20260102-0304.csv"


@given(st.integers(0, 3000))
def test_free_name_behind_the_taken_ones(number: int) -> None:
    """P3: where the first names are taken, the next one is found, and few questions are asked for it."""
    names = archive_names("enrols.csv", AT)
    taken = {names.numbered(each) for each in range(1, number + 1)}
    asked: list[str] = []

    def is_free(name: str) -> bool:
        asked.append(name)
        return name not in taken

    assert names.first_free(is_free) == number + 1
    assert len(asked) <= 26


@given(st.sets(st.integers(1, 40)))
def test_free_name_among_gaps(numbers: set[int]) -> None:
    """P3: whatever is taken, the name that is found is not."""
    names = archive_names("enrols.csv", AT)
    taken = {names.numbered(each) for each in numbers}
    assert names.numbered(names.first_free(lambda name: name not in taken)) not in taken


@given(st.text(alphabet="aé.-", min_size=1, max_size=255))
def test_stamped_names_fit_the_disk(name: str) -> None:
    """P3: a long name is cut where it must be, and numbered names stay different."""
    found = list(islice(archive_names(name, AT), 12))
    assert len(set(found)) == len(found)
    assert all(len(candidate.encode()) <= 255 for candidate in found)
