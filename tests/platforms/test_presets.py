"""The presets against stand-ins of the tools that they are for: real PHP, which exits with 0 whatever happens."""

from __future__ import annotations

import fcntl
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.app.tools.presets import PRESETS
from sftpgate.ledger.runs import Run
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.runners import World
from tests.platforms.world import Platform

pytestmark = pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform of stand-ins."""
    return Platform.make(tmp_path, monkeypatch)


@pytest.fixture
def world(platform: Platform, tmp_path: Path) -> Iterator[World]:
    """A gate whose tools are all presets."""
    world = World(tmp_path / "gate", **platform.preset(*PRESETS))
    yield world
    world.close()


def run(world: World, path: str, content: bytes) -> Run:
    """Send a file, let the tools run, and return the record of its run."""
    arrival = world.send(path, content)
    world.pass_over()
    return world.runs_of(arrival)[-1]


def test_users_that_are_good(world: World, platform: Platform) -> None:
    """Users are added, changed and suspended by the preset as it is printed, and the record has their number."""
    done = run(
        world,
        "users.csv",
        b"username,firstname,lastname,email,suspended\nu1,Ann,B,ann@example.org,1\nu9,New,One,new@example.org,0\n",
    )
    assert (done.outcome, done.rows, done.accepted, done.rejected) == (RunOutcome.DONE, 2, 2, 0)
    users = platform.state["users"]
    assert isinstance(users, dict)
    assert users["u1"]["suspended"] == "1" and users["u1"]["firstname"] == "Ann" and "u9" in users


@pytest.mark.promise("P8")
def test_users_that_are_rejected(world: World) -> None:
    """Rows that the platform rejects are known with line and reason, and come back with the header."""
    done = run(
        world,
        "users.csv",
        b"username,firstname,lastname,email\nu8,A,B,a@example.org\nu9,C,D,none\n,E,F,e@example.org\n",
    )
    assert (done.outcome, done.rows, done.accepted, done.rejected) == (RunOutcome.DONE_WITH_REJECTED, 3, 1, 2)
    assert [line for line, _ in done.rejected_rows] == [3, 4]
    assert "Invalid email address" in done.rejected_rows[0][1]
    assert world.report(done.tryback) == b"username,firstname,lastname,email\nu9,C,D,none\n,E,F,e@example.org\n"


@pytest.mark.promise("P8")
def test_rows_with_line_ends_in_their_cells(world: World) -> None:
    """These tools count records; a cell with line ends, or a blank line, before a rejected row gives back no other row."""
    content = b'username,firstname,lastname,email\nu8,"A\nB",C,a@example.org\n\nu9,D,E,none\nu7,F,G,f@example.org\n'
    done = run(world, "users.csv", content)
    assert (done.outcome, done.rows, done.rejected) == (RunOutcome.DONE_WITH_REJECTED, 3, 1)
    assert world.report(done.tryback) == b"username,firstname,lastname,email\nu9,D,E,none\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("users.csv", b"username;firstname\nu8;A\n"),
        ("users.csv", b"username,nickname\nu8,A\n"),
        ("users.csv", b""),
        ("courses.csv", b"shortname;fullname\nX;Y\n"),
    ],
)
def test_files_that_the_platform_cannot_read(world: World, path: str, content: bytes) -> None:
    """A file with the wrong delimiter, an unknown column or nothing in it is a failure with the platform's own words."""
    failed = run(world, path, content)
    assert failed.outcome is RunOutcome.FAILED
    assert failed.because or failed.exit_status


def test_a_file_that_is_not_there_for_the_tool(world: World, platform: Platform) -> None:
    """A command that prints that the CSV file is invalid, and exits with 0, has failed."""
    script = platform.code / "admin/tool/uploadcourse/cli/uploadcourse.php"
    script.write_text('<?php echo "Moodle course uploader running ...\\nInvalid input CSV file\\n";')
    failed = run(world, "courses.csv", b"shortname,fullname\nX,Y\n")
    assert (failed.outcome, failed.exit_status, failed.because) == (RunOutcome.FAILED, 0, "Invalid input CSV file")


def test_courses(world: World, platform: Platform) -> None:
    """Courses: the tool counts rows behind the header; the record counts lines of the file."""
    done = run(world, "courses.csv", b"shortname,fullname\nMATH,Maths\nART,\nBIO,Biology\n")
    assert (done.outcome, done.rows, done.accepted, done.rejected) == (RunOutcome.DONE_WITH_REJECTED, 3, 2, 1)
    assert done.rejected_rows == ((3, "Missing value for mandatory fields: fullname"),)
    assert world.report(done.tryback) == b"shortname,fullname\nART,\n"
    assert platform.state["courses"] == {"MATH": "Maths", "BIO": "Biology"}


@pytest.mark.promise("P4")
def test_a_database_that_is_away(world: World, platform: Platform) -> None:
    """While the platform's database is away, files keep their order and their attempts; then all of them are processed."""
    platform.away.touch()
    first = world.send("users.csv", b"username,email\nu8,a@example.org\n")
    second = world.send("users.csv", b"username,email\nu9,b@example.org\n")
    for _ in range(4):
        assert [result.outcome for result in world.pass_over("users").results] == [RunOutcome.NOT_THE_FILE]
        world.clock.advance(hours=1)
    report = world.report(world.runs_of(first)[-1].report).decode()
    assert "Database connection failed" in report and "setuplib" not in report
    platform.away.unlink()
    assert [result.arrival.id for result in world.pass_over("users").results] == [first.id, second.id]
    assert (world.now(first).attempts, world.now(first).state) == (1, ArrivalState.DONE)


def test_enrolments_by_flat_file(world: World, platform: Platform) -> None:
    """The flat file plugin gets each file at its own place, one at a time; what it ignores comes back without a header."""
    lines = b"add,student,u1,MATH\nadd,pupil,u1,MATH\nadd,student,nobody,MATH\nadd,student\nadd,student,u2,MATH\n"
    done = run(world, "enrolments.txt", lines)
    assert (done.outcome, done.rows, done.accepted, done.rejected) == (RunOutcome.DONE_WITH_REJECTED, 5, 2, 3)
    assert [row[0] for row in done.rejected_rows] == [2, 3, 4]
    assert world.report(done.tryback) == b"add,pupil,u1,MATH\nadd,student,nobody,MATH\nadd,student\n"
    assert platform.state["enrolments"] == {"MATH/u1": "student", "MATH/u2": "student"}
    assert [path.name for path in (platform.data / "flatfile").iterdir()] == [".sftpgate-hand-in"]


def test_a_plugin_that_is_disabled(world: World, platform: Platform) -> None:
    """A plugin that does not take its file is no fault of the file: it is taken away again, and tried later."""
    platform.state = {**platform.state, "flatfile_disabled": True}
    later = run(world, "enrolments.txt", b"add,student,u1,MATH\n")
    assert later.outcome is RunOutcome.NOT_THE_FILE
    assert [path.name for path in (platform.data / "flatfile").iterdir()] == [".sftpgate-hand-in"]


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    "what", ["another file", "the same file", "a link", "lock.txt", "alock.txt", "another hand-in", "no directory"]
)
def test_the_place_of_a_plugin_is_taken(world: World, platform: Platform, what: str) -> None:
    """A hand-in replaces nothing and goes beside nobody; what a killed one left is handed in again."""
    directory, content = platform.data / "sync", b"cmd;cid;uid\nadd;MATH;u1\n"
    place, lock = directory / "enrols.csv", None
    match what:
        case "another file":
            place.write_bytes(b"older\n")
        case "the same file":
            place.write_bytes(content)
        case "a link":
            place.symlink_to("/etc/hostname")
        case "another hand-in":
            lock = (directory / ".sftpgate-hand-in").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        case "no directory":
            directory.rmdir()
        case name:
            (directory / name).touch()
    done = run(world, "enrols.csv", content)
    if what == "the same file":
        assert done.outcome is RunOutcome.DONE
        return
    assert done.outcome is RunOutcome.NOT_THE_FILE
    assert (done.because or "").startswith("hand_in: ")
    if what == "another file":
        assert place.read_bytes() == b"older\n"
    if lock is not None:
        lock.close()


def test_tasks_of_the_synchronisation_plugin(world: World, platform: Platform) -> None:
    """Thirty versions of two names, all executed in their order: one file at a time, by the one task that it is for."""
    sent = []
    for number in range(15):
        for name in ("enrols.csv", "groups.csv"):
            content = f"cmd;{number}\n".encode()
            sent.append((name, content))
            world.send(name, content)
    results = world.pass_over("enrols", "groups").results
    assert {result.outcome for result in results} == {RunOutcome.DONE}
    executed = platform.state["executed"]
    assert isinstance(executed, list)
    contents = {
        name: [b64decode(content) for other, content in executed if other == name] for name in ("enrols.csv", "groups.csv")
    }
    assert contents == {name: [content for other, content in sent if other == name] for name in contents}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("language", ["fr", "de"])
def test_a_site_in_another_language(world: World, platform: Platform, language: str) -> None:
    """The platform's commands speak the language of the site: rows and errors are known in French and German too."""
    platform.state = {**platform.state, "lang": language}
    done = run(world, "users.csv", b"username,firstname,lastname,email\nu8,A,B,a@example.org\nu9,C,D,none\n")
    assert (done.outcome, done.rows, done.accepted, done.rejected) == (RunOutcome.DONE_WITH_REJECTED, 2, 1, 1)
    assert done.rejected_rows == ((3, "User not added - error; Email address: Invalid email address"),)
    courses = run(world, "courses.csv", b"shortname,fullname\nMATH,Maths\nART,\n")
    assert (courses.outcome, courses.rows, courses.accepted, courses.rejected) == (RunOutcome.DONE_WITH_REJECTED, 2, 1, 1)


def test_a_site_in_a_language_that_the_preset_does_not_know(world: World, platform: Platform) -> None:
    """In a language whose words the preset does not have, nobody knows what was done: that is no success."""
    platform.state = {**platform.state, "lang": "sv"}
    assert run(world, "users.csv", b"username,email\nu9,none\n").outcome is RunOutcome.FAILED


def test_a_refusal_in_another_language(world: World, platform: Platform) -> None:
    """A command that says in any language that it did nothing, and exits with 0, is not done."""
    script = platform.code / "admin/tool/uploadcourse/cli/uploadcourse.php"
    script.write_text('<?php echo "Moodle course uploader running ...\\nFichier CSV non valide\\n";')
    assert run(world, "courses.csv", b"shortname,fullname\nX,Y\n").outcome is RunOutcome.FAILED


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("fails", RunOutcome.FAILED),
        ("another file", RunOutcome.FAILED),
        ("locked", RunOutcome.NOT_THE_FILE),
        ("upgrade", RunOutcome.NOT_THE_FILE),
        ("no cron", RunOutcome.NOT_THE_FILE),
    ],
)
def test_a_task_that_did_not_execute_its_file(world: World, platform: Platform, what: str, outcome: RunOutcome) -> None:
    """A task that failed, read another file, or was not started by the platform is not done, though the file was captured."""
    platform.state = {**platform.state, "task": what}
    assert run(world, "enrols.csv", b"cmd;cid;uid\nadd;MATH;u1\n").outcome is outcome


@pytest.mark.promise("P3")
def test_a_file_that_came_after_the_one_that_was_taken(world: World, platform: Platform) -> None:
    """What somebody else puts at the place of a plugin after it took the file is not taken away."""
    script = platform.code / "admin/cli/scheduled_task.php"
    place = platform.data / "sync" / "enrols.csv"
    script.write_text(f"<?php unlink('{place}'); file_put_contents('{place}', 'other'); echo \"Storing report\\n\";")
    assert run(world, "enrols.csv", b"cmd;cid;uid\n").outcome is RunOutcome.DONE
    assert place.read_bytes() == b"other"
