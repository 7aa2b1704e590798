"""Outcomes of runs, with real commands: rows, rejected rows, and files that are not to blame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sftpgate.app.runs import claims as claims_by_hand
from sftpgate.ledger import reports
from sftpgate.ledger.audit.actor import runner
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.runner import RunResult
from tests.harness.runners import World, shell

MakeWorld = Callable[..., World]

CONTENT = b"cmd;course;user\nadd;MATH;u1\nadd;NONE;u2\nadd;MATH;u3\n"


def header(world: World, result: RunResult) -> dict[str, str]:
    """The facts at the beginning of a report."""
    text = world.report(result.report).decode().partition("\n\n")[0]
    return dict(line.split(": ", 1) for line in text.splitlines())


def result_of(json: str) -> str:
    """A piece of shell that writes a result."""
    return f"printf '%s' '{json}' > \"$SFTPGATE_RESULT\""


@pytest.mark.promise("P8")
def test_a_result_makes_the_tryback(make_world: MakeWorld) -> None:
    """From a result, the record has the numbers and the rejected rows, and the sender gets those rows with the header."""
    world = make_world(a=shell(result_of('{"rows": 3, "accepted": 2, "rejected": [{"line": 3, "reason": "no such course"}]}')))
    arrival = world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.DONE_WITH_REJECTED
    assert world.now(arrival).state is ArrivalState.DONE
    [run] = world.runs_of(arrival)
    assert (run.outcome, run.rows, run.accepted, run.rejected) == (RunOutcome.DONE_WITH_REJECTED, 3, 2, 1)
    assert run.rejected_rows == ((3, "no such course"),)
    assert world.report(run.tryback) == b"cmd;course;user\nadd;NONE;u2\n"
    lines = header(world, result)
    assert lines["outcome"] == "done with 1 rejected"
    assert (lines["rows"], lines["accepted"], lines["rejected"]) == ("3", "2", "1")
    assert lines["rejected row"] == "line 3: no such course: add;NONE;u2"
    assert "a_tryback_" in lines["what next"]


def test_output_says_what_was_rejected(make_world: MakeWorld) -> None:
    """A command that ends with 0 and prints errors is not simply done."""
    world = make_world(
        a=shell(
            "printf 'Line 2\\n  added\\nLine 3\\n  Error: no such course\\nLine 4\\n  added\\nUsers created: 2\\nErrors: 1\\n'",
            row_output=r"^Line (?P<line>\d+)$",
            rejected_output=r"^\s+Error: (?P<reason>.*)",
            counts_output=[r"^Users created: (?P<accepted>\d+)", r"^Errors: (?P<rejected>\d+)"],
        )
    )
    arrival = world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    [run] = world.runs_of(arrival)
    assert (run.outcome, run.rows, run.accepted, run.rejected) == (RunOutcome.DONE_WITH_REJECTED, 3, 2, 1)
    assert world.report(result.tryback) == b"cmd;course;user\nadd;NONE;u2\n"


def test_output_says_that_it_failed(make_world: MakeWorld) -> None:
    """A command that ends with 0 and prints that it could not read its file has failed: the attempt counts."""
    world = make_world(a=shell("echo 'Invalid input CSV file'", failed_output="^Invalid input"))
    arrival = world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert (result.outcome, result.exit_status) == (RunOutcome.FAILED, 0)
    assert header(world, result)["because"] == "Invalid input CSV file"
    now = world.now(arrival)
    assert (now.state, now.attempts) == (ArrivalState.WAITING, 1)
    assert world.runs_of(arrival)[0].because == "Invalid input CSV file"


def test_no_known_word_is_done(make_world: MakeWorld) -> None:
    """Without a result, and with output that has none of the known words, exit status 0 is done, and nobody knows of rows."""
    world = make_world(a=shell("echo fine", failed_output="^Invalid", rejected_output="^Error"))
    arrival = world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    [run] = world.runs_of(arrival)
    assert (result.outcome, run.rows, run.accepted, run.rejected) == (RunOutcome.DONE, None, None, None)


@pytest.mark.promise("P4")
def test_not_the_files_fault(make_world: MakeWorld) -> None:
    """Exit status 75 spends no attempt; the file waits a minute, then two, and keeps its place before later ones."""
    world = make_world(a=shell('test -e "$0.up" || exit 75', file="a*.csv", arrivals="queue"))
    first, second = world.send("a1.csv"), world.send("a2.csv")
    [result] = world.pass_over().results
    assert (result.outcome, result.arrival.id) == (RunOutcome.NOT_THE_FILE, first.id)
    assert (world.now(first).attempts, world.now(first).state) == (0, ArrivalState.WAITING)
    assert world.pass_over().results == []  # neither this file, nor a later one before it
    world.clock.advance(seconds=61)
    assert [result.outcome for result in world.pass_over().results] == [RunOutcome.NOT_THE_FILE]
    world.clock.advance(seconds=61)
    assert world.pass_over().results == []
    assert "you need not do anything" in header(world, result)["what next"]
    assert world.now(second).state is ArrivalState.WAITING


def test_a_newer_file_is_tried_at_once(make_world: MakeWorld) -> None:
    """With "latest", a newer file takes the place of one that was put off, and is tried at once; with "queue" it waits."""
    world = make_world(a=shell("exit 75"), b=shell("exit 75", file="b.csv", arrivals="queue"))
    world.send("a.csv", b"1\n"), world.send("b.csv", b"1\n")
    world.pass_over("a", "b")
    newer = world.send("a.csv", b"2\n")
    world.send("b.csv", b"2\n")
    assert [result.arrival.id for result in world.pass_over("a", "b").results] == [newer.id]
    assert world.pass_over("a", "b").results == []


def test_the_platform_comes_back(make_world: MakeWorld, tmp_path: Path) -> None:
    """After many tries in vain the file is processed with its first attempt, and the later one after it."""
    up = tmp_path / "up"
    world = make_world(a=shell(f"test -e {up} || exit 75", arrivals="queue", max_attempts=1))
    first, second = world.send("a.csv", b"1\n"), world.send("a.csv", b"2\n")
    for _ in range(5):
        world.clock.advance(hours=2)
        assert [result.arrival.id for result in world.pass_over().results] == [first.id]
    up.touch()
    world.clock.advance(hours=2)
    assert [result.arrival.id for result in world.pass_over().results] == [first.id, second.id]
    assert (world.now(first).state, world.now(first).attempts) == (ArrivalState.DONE, 1)


def test_output_that_excuses_the_file(make_world: MakeWorld) -> None:
    """What the output says of a missing database counts more than an exit status of 1."""
    world = make_world(a=shell("echo 'Error: Database connection failed'; exit 1", retry_output="Database connection failed"))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.NOT_THE_FILE
    assert world.runs_of(arrival)[0].because == "Error: Database connection failed"


@pytest.mark.parametrize(
    ("script", "notice"),
    [
        (result_of("not json"), "not valid JSON"),
        ('head -c 17000000 /dev/zero > "$SFTPGATE_RESULT"', "longer than"),
        (result_of('{"rows": "many"}'), "rows is no number"),
    ],
)
def test_a_result_that_cannot_be_used(make_world: MakeWorld, script: str, notice: str) -> None:
    """Nobody knows what a run did whose result cannot be understood: it has failed, and the report says why."""
    world = make_world(a=shell(script))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.FAILED
    assert notice in header(world, result)["because"]
    assert world.now(arrival).state is ArrivalState.WAITING


@pytest.mark.parametrize("make", ["ln -s /etc/hostname", "mkfifo", "mkdir"])
def test_a_result_that_is_no_file(make_world: MakeWorld, make: str) -> None:
    """A link, a FIFO or a directory in the place of the result is not followed, waited for, or read: the run has failed."""
    world = make_world(a=shell(f'rm -f "$SFTPGATE_RESULT"; {make} "$SFTPGATE_RESULT"'))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.FAILED
    assert "no regular file" in header(world, result)["because"]
    assert os.uname().nodename.encode() not in world.report(result.report)
    assert world.runs_of(arrival)[0].rows is None


def test_a_row_beyond_the_file(make_world: MakeWorld) -> None:
    """A rejected row that the file does not have is a notice; the others are given back."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 2, "reason": "x"}, {"line": 900, "reason": "y"}]}')))
    world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.DONE_WITH_REJECTED
    assert "line 900" in header(world, result)["notice"]
    assert world.report(result.tryback) == b"cmd;course;user\nadd;MATH;u1\n"


@pytest.mark.parametrize("text", ["\\ud800 x", "a\\u0000b"])
def test_text_that_no_ledger_has(make_world: MakeWorld, text: str) -> None:
    """Half of a surrogate pair, or a NUL, in a reason or a message is shown as an escape, and the run is recorded once."""
    world = make_world(
        a=shell(result_of(f'{{"rejected": [{{"line": 2, "reason": "{text}"}}]}}')),
        b=shell(result_of(f'{{"outcome": "failed", "message": "{text}"}}'), file="b.csv"),
    )
    rejected, failed = world.send("a.csv", CONTENT), world.send("b.csv", CONTENT)
    outcomes = [result.outcome for result in world.pass_over("a", "b").results]
    assert outcomes == [RunOutcome.DONE_WITH_REJECTED, RunOutcome.FAILED]
    [(_, reason)] = world.runs_of(rejected)[0].rejected_rows
    assert reason == world.runs_of(failed)[0].because
    assert reason.isprintable() and reason.encode()


def test_rejected_rows_that_are_not_given_back(make_world: MakeWorld) -> None:
    """The report says that the file of rejected rows does not have all, if there are rows whose lines nobody knows."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 2}, {"reason": "somewhere"}]}')))
    world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert "does not have all: of 1" in header(world, result)["notice"]


def test_a_row_that_is_too_long_is_not_cut(make_world: MakeWorld) -> None:
    """Half of a row is a wrong command: one that is too long to be given back is left out, and the report says so."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 2}, {"line": 3}]}')))
    world.send("a.csv", b"h\n" + b"x" * 3_000_000 + b"\n1\n")
    [result] = world.pass_over().results
    assert world.report(result.tryback) == b"h\n1\n"
    assert "line 2" in header(world, result)["notice"]


def test_rows_with_line_ends_in_cells(make_world: MakeWorld) -> None:
    """A rejected row is given back whole if a quoted cell of it has line ends; a quote that is never closed takes one line."""
    content = b'a;b\n1;"two\nlines"\n2;"open\n3;x\n4;y'
    rejected = '{"rejected": [{"line": 2}, {"line": 4}, {"line": 6}]}'
    world = make_world(a=shell(result_of(rejected)))
    world.send("a.csv", content)
    [result] = world.pass_over().results
    assert world.report(result.tryback) == b'a;b\n1;"two\nlines"\n2;"open\n4;y\n'


def test_a_file_without_header(make_world: MakeWorld) -> None:
    """Rejected rows of a file without a header are given back without one."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 1}]}'), header=False))
    world.send("a.csv", b"add,student,u1,MATH\nadd,student,u2,MATH\n")
    [result] = world.pass_over().results
    assert world.report(result.tryback) == b"add,student,u1,MATH\n"


def test_the_tools_own_tryback_counts(make_world: MakeWorld) -> None:
    """Rejected lines that the tool wrote itself are kept as they are."""
    world = make_world(a=shell('echo mine > "$SFTPGATE_TRYBACK"; ' + result_of('{"rejected": [{"line": 2}]}')))
    world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert world.report(result.tryback) == b"mine\n"


@pytest.mark.promise("P8")
def test_the_sender_does_not_read_the_inside(make_world: MakeWorld) -> None:
    """The sender's report has no path and no address of the platform; the admin's has all of it, and is not the sender's."""
    script = "echo 'cannot open /var/www/moodle/config.php at 10.0.0.7:5432'; echo 'Stack trace:'; exit 1"
    world = make_world(a=shell(script, failed_output="cannot open"))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    sender, admin = world.report(result.report).decode(), world.report(result.output).decode()
    assert "/var/www" not in sender and "10.0.0.7" not in sender and "Stack" not in sender
    assert "/var/www/moodle/config.php at 10.0.0.7:5432\nStack trace:" in admin
    with world.system.ledger.reading() as connection:
        assert reports.of_owner(connection, "erp") == [result.report]
        assert reports.owner_of(connection, str(result.output)) == ""
    assert world.runs_of(arrival)[0].output == result.output


def test_a_full_report_has_everything(make_world: MakeWorld) -> None:
    """With ``report = "full"`` the sender reads the output as it came, and there is one report only."""
    world = make_world(a=shell("echo /var/www/moodle/x.php", report="full"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert world.report(result.report).endswith(b"\n\n/var/www/moodle/x.php\n")
    assert result.output is None


def test_a_report_in_french(make_world: MakeWorld, tmp_path: Path) -> None:
    """A user whose ``user.toml`` says French reads the report in French."""
    world = make_world(a=shell(result_of('{"rows": 3, "rejected": [{"line": 3, "reason": "cours inconnu"}]}')))
    directory = world.system.settings.keys_dir / "users" / "erp"
    directory.mkdir(parents=True)
    (directory / "user.toml").write_text('language = "fr"\n')
    world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    lines = header(world, result)
    assert lines["résultat"] == "traité, 1 ligne(s) rejetée(s)"
    assert lines["ligne rejetée"] == "ligne 3: cours inconnu: add;NONE;u2"
    assert (lines["lignes lues"], lines["lignes rejetées"]) == ("3", "1")


def test_what_a_timeout_leaves(make_world: MakeWorld) -> None:
    """A command whose time was over has timed out, whatever it had written as its result until then."""
    world = make_world(a=shell(result_of('{"rows": 3, "accepted": 3}') + "; sleep 60", timeout=0.3))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.TIMED_OUT
    assert world.runs_of(arrival)[0].accepted == 3


@pytest.mark.parametrize(
    ("content", "tryback"),
    [
        (b"h\rone\rtwo\r", b"h\rtwo\r"),
        (b"h\rone\rtwo", b"h\rtwo\r"),
        ("h\none\ntwo\n".encode("utf-16"), "h\ntwo\n".encode("utf-16")),
        ("h\r\nélève\r\ntwo".encode("utf-16"), "h\r\ntwo\n".encode("utf-16")),
        (b"\xfe\xff" + "h\none\nété\n".encode("utf-16-be"), b"\xfe\xff" + "h\nété\n".encode("utf-16-be")),
        (b"h\r\none\r\ntwo\r\n", b"h\r\ntwo\r\n"),
    ],
)
@pytest.mark.parametrize("numbers", ["lines", "records"])
def test_lines_of_other_forms_are_given_back(make_world: MakeWorld, content: bytes, tryback: bytes, numbers: str) -> None:
    """Rejected rows are given back in the form of the file: with carriage returns alone, and in UTF-16."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 3, "reason": "x"}]}'), row_numbers=numbers))
    world.send("a.csv", content)
    [result] = world.pass_over().results
    assert world.report(result.tryback) == tryback
    assert "notice" not in header(world, result)


def test_a_tryback_is_bounded(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of rejected rows that a command writes is kept up to twice its input, to the end of a line, and the report says
    that there was more.
    """
    monkeypatch.setattr("sftpgate.runners.rejected_rows._LEAST_TRYBACK_BYTES", 10)
    world = make_world(
        a=shell('printf "1234\\n6789\\n1234\\n6789\\n1234" > "$SFTPGATE_TRYBACK"; truncate -s 1T "$SFTPGATE_TRYBACK"')
    )
    world.send("a.csv", b"a\nb\n12")
    [result] = world.pass_over().results
    assert world.report(result.tryback) == b"1234\n6789\n"
    assert "longer than 12 bytes" in header(world, result)["notice"]


def test_output_in_utf_16(make_world: MakeWorld) -> None:
    """Output that says by its first bytes that it is UTF-16 is read, and shown, as what it is."""
    octal = "".join(f"\\{byte:03o}" for byte in "Fehler in /srv/x/y\n".encode("utf-16"))
    world = make_world(a=shell(f"printf '{octal}'", failed_output="^Fehler"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.FAILED
    assert world.report(result.report).decode().endswith("Fehler in [path]\n")


def test_a_line_that_is_written_over(make_world: MakeWorld) -> None:
    """What a command prints over a progress bar is a line of its own."""
    world = make_world(a=shell("printf '10 %%\\r20 %%\\rError: disk is full\\n'", failed_output="^Error"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert header(world, result)["because"] == "Error: disk is full"


def test_what_went_wrong_in_french(make_world: MakeWorld, tmp_path: Path) -> None:
    """What sftpgate itself found out about a run is in the sender's language, and in English on the record."""
    script = 'echo more >> "$1"; ' + result_of('{"rows": "many"}')
    world = make_world(a=shell(script))
    directory = world.system.settings.keys_dir / "users" / "erp"
    directory.mkdir(parents=True)
    (directory / "user.toml").write_text('language = "fr"\n')
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    lines = header(world, result)
    because = "ce que la commande a écrit dans SFTPGATE_RESULT est inutilisable : rows n'est pas un nombre de lignes"
    assert (lines["résultat"], lines["cause"]) == ("échec", because)
    assert lines["remarque"].startswith("le fichier a été modifié sur cette machine depuis sa réception")
    assert (world.runs_of(arrival)[0].because or "").startswith("what the command wrote to SFTPGATE_RESULT cannot be used")


def test_a_pattern_that_does_not_end_fails_the_run(make_world: MakeWorld) -> None:
    """A pattern that would search for years ends: the run has failed, the report names the pattern, and the pass goes on."""
    slow = r"(a+)+$"
    world = make_world(
        a=shell("head -c 3000 /dev/zero | tr '\\0' a; echo !", failed_output=slow), b=shell("echo fine", file="b.csv")
    )
    world.send("a.csv"), world.send("b.csv")
    first, second = world.pass_over().results
    assert (first.outcome, second.outcome) == (RunOutcome.FAILED, RunOutcome.DONE)
    assert header(world, first)["because"] == f"the pattern {slow} took too long on the output: nobody knows what was done"


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("script", "more", "rejected"),
    [
        ('sed -n "1p;3p" "$1" > "$SFTPGATE_TRYBACK"', {}, 1),
        ('sed -n "3,4p" "$1" > "$SFTPGATE_TRYBACK"', {}, 2),
        ('sed -n "1,2p" "$1" > "$SFTPGATE_TRYBACK"', {"header": False}, 2),
        ('printf "\\357\\273\\277cmd;course;user\\r\\n1;\\"a\\nb\\"\\n\\n" > "$SFTPGATE_TRYBACK"', {"row_numbers": "records"}, 1),
        ('head -1 "$1" > "$SFTPGATE_TRYBACK"', {}, None),
        (': > "$SFTPGATE_TRYBACK"', {}, None),
    ],
)
def test_rows_that_a_command_gives_back(
    make_world: MakeWorld, script: str, more: dict[str, object], rejected: int | None
) -> None:
    """A command that ends with 0 and gives rows back has not taken all: that is its outcome, and the header is no row."""
    world = make_world(a=shell(script, **more))
    arrival = world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert result.outcome is (RunOutcome.DONE if rejected is None else RunOutcome.DONE_WITH_REJECTED)
    assert world.runs_of(arrival)[0].rejected == rejected


@pytest.mark.parametrize("what", ["mkfifo", "ln -s /etc/hostname", "mkdir"])
def test_a_tryback_that_is_no_file(make_world: MakeWorld, what: str) -> None:
    """Something else in the place of the file of rejected rows is a failure with that reason, and nothing of it is read."""
    world = make_world(a=shell(f'rm "$SFTPGATE_TRYBACK"; {what} "$SFTPGATE_TRYBACK"'))
    world.send("a.csv", CONTENT)
    [result] = world.pass_over().results
    assert (result.outcome, result.tryback) == (RunOutcome.FAILED, None)
    assert header(world, result)["because"].startswith("what the command wrote to SFTPGATE_TRYBACK cannot be used")


def test_words_behind_colours(make_world: MakeWorld) -> None:
    """Orders for a terminal in front of a word do not hide it from the patterns."""
    world = make_world(a=shell(r"printf '\033[1;31m!!! broken\033[0m\n'", failed_output="^!!! broken$"))
    world.send("a.csv")
    assert [result.outcome for result in world.pass_over().results] == [RunOutcome.FAILED]


def test_output_without_the_words_of_work(make_world: MakeWorld) -> None:
    """A command that ends with 0 and says nothing has failed, if its tool says what it says when it did its work."""
    world = make_world(a=shell("exit 0", done_output="^finished"))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert (result.outcome, world.now(arrival).attempts) == (RunOutcome.FAILED, 1)
    assert "none of the words" in header(world, result)["because"]


def test_a_script_needs_no_words(make_world: MakeWorld) -> None:
    """A script that says itself that it is done is believed."""
    world = make_world(a=shell("exit 0", done_output="^finished"))
    arrival = world.send("a.csv")
    claim = world.claims.take("a", live=False)
    assert claim is not None
    ended = claims_by_hand.end(world.system, runner(), claim.token, RunOutcome.DONE)
    assert (ended.outcome, world.now(arrival).state) == (RunOutcome.DONE, ArrivalState.DONE)


def test_rejected_rows_of_utf16_without_a_mark(make_world: MakeWorld) -> None:
    """Rows of a file in UTF-16 that has no mark are given back as they are in it."""
    world = make_world(a=shell(result_of('{"rejected": [{"line": 3, "reason": "x"}]}')))
    world.send("a.csv", "user,course\r\nanna,maths\r\nélise,art\r\n".encode("utf-16-le"))
    [result] = world.pass_over().results
    assert world.report(result.tryback) == "user,course\r\nélise,art\r\n".encode("utf-16-le")
    assert header(world, result)["rejected row"] == "line 3: x: élise,art"
