"""Names and places: normal forms, zones, and which names are never taken."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import NameRefused, PlaceRefused
from sftpgate.policy.access import Zone, locate, require_writable
from sftpgate.policy.names import Eligibility, NameRules, VirtualPath, check_storable, normalise
from sftpgate.policy.pointers import matches
from sftpgate.settings.tree import Settings

MOUNT = VirtualPath("/sync")
RULES = NameRules()


def test_one_list_of_names_that_are_never_taken() -> None:
    """What the settings say by default of names is what the rules say: there is one list of each."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for rule in (rule for rule in fields(NameRules) if rule.init):
        assert getattr(RULES, rule.name) is defaults[rule.name]


@pytest.mark.promise("P6")
@given(st.text(alphabet="a./é\\ _", max_size=40))
def test_normal_form_never_climbs(text: str) -> None:
    """Whatever a client sends, the path is absolute, without dots or empty parts, and stable."""
    path = normalise(text.encode(), MOUNT)
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/")) or path == "/"
    assert normalise(path.encode(), VirtualPath("/elsewhere")) == path


@pytest.mark.promise("P6")
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
        ("/archives/x", Zone.MANAGED),
        ("/reports", Zone.MANAGED),
        ("/receipts", Zone.RECEIPTS),
        ("/receipts/x/y.json", Zone.RECEIPTS),
        ("/sync/receipts/x", Zone.DROP),
        ("/Archives", Zone.NOWHERE),
        ("/syncx", Zone.NOWHERE),
    ],
)
def test_zones(path: str, zone: Zone) -> None:
    """Each path lies in one zone; reserved names are known in any letter case and Unicode form."""
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


@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", ["a\x1b[31m.csv", "a\nb", "x" * 256, "é" * 128, "a\u2028b", ".sftpgate", "/".join("a" * 65)])
def test_names_that_cannot_be_stored(name: str) -> None:
    """Control characters, more than 255 bytes, our own name and deep paths are refused in words."""
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
