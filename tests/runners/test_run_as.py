"""Tools with ``run_as``: who their commands are, what they may read and write, and what happens where they may not."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.accounts import Person, join, needs_root, needs_sudo, open_directory, people, sudoers
from tests.runners.sites import Site, site

pytestmark = [needs_root, needs_sudo]

DIR_MODE = "dir_mode = '0711'"
SEES = (
    'id -un; id -gn; echo "$SFTPGATE_TOOL $SFTPGATE_ARRIVAL $(basename "$SFTPGATE_FILE") $HOME"; cat "$1"; '
    'head -1 "$1" > "$SFTPGATE_TRYBACK"; : > "$SFTPGATE_RESULT"; d=$(dirname "$1"); '
    'ls "$d/../.." "$d/.." "$d/../../claims" 2>&1 | grep -c denied; touch "$d/mine" 2>&1 | grep -c denied; '
    'rm -f "$1" "$SFTPGATE_TRYBACK" 2>&1 | grep -c denied; ln -s /etc/passwd "$d/.result.json" 2>&1 | wc -l; exit 0'
)


def output_of(made: Site, arrival: Arrival) -> str:
    """What the last run of a file said."""
    run = made.world.runs_of(arrival)[-1]
    text = (made.world.store / "reports" / str(run.output or run.report)).read_text()
    return text.partition("\n\n")[2]


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_the_command_is_somebody_else(way: str) -> None:
    """The command is run_as with its groups, has the environment that it needs, reads its file, writes its papers, and no more;
    the archived file belongs to the store's group again.
    """
    with site(SEES, top=DIR_MODE) as (made, platform):
        arrival = made.send()
        before = (made.world.store / "a.csv").stat()
        code, output, errors = made("run", "--all", by=made.service if way == "sudo" else None)
        assert (code, errors) == (0, ""), output
        name, group, said, *rest = output_of(made, arrival).splitlines()
        assert (name, group, said) == (platform.name, platform.name, f"a {arrival.id} a.csv /home/{platform.name}")
        assert rest == ["user,course", "ada,algebra", "3", "1", "2", "1"]
        ended = made.world.now(arrival)
        archived = (made.world.store / "archives" / str(ended.archived_as)).stat()
        assert (archived.st_uid, archived.st_gid, archived.st_mode) == (made.service.uid, before.st_gid, before.st_mode)
        assert (made.world.store / "reports" / str(made.world.runs_of(arrival)[-1].tryback)).read_text() == "user,course\n"


def test_two_sites_on_one_machine() -> None:
    """Each tool has its own user and group: one site's user reads nothing of another's, while it runs and after."""
    with open_directory() as directory, people("gate", "one", "two") as (service, one, two):
        for each in (one, two):
            join(service, each)
        script = (
            'cat "$1"; for f in $(dirname "$1")/../*/*.csv; do cat "$f" > /dev/null 2>&1 && echo "read $f"; done; '
            "cat {store}/*.csv {store}/archives/* {store}/reports/* 2> /dev/null; exit 0"
        ).replace("{store}", str(directory / "data/store"))
        tools = "".join(
            f"[tools.{name}]\nfile = '{name}.csv'\nrun_as = '{who.name}'\nrun_group = '{who.name}'\n"
            f"command = ['/bin/sh', '-c', '''{script}''', 'sh', '{{file}}']\n"
            for name, who in (("one", one), ("two", two))
        )
        made = Site(directory, service, tools, top=DIR_MODE)
        try:
            for path in ("data/store", "data/store/.sftpgate", "data/store/.sftpgate/runs"):
                (directory / path).chmod(0o711)
            sent = [made.send(f"{name}.csv", f"secret of {name}\n".encode()) for name in ("one", "two")]
            assert made("run", "--all")[0] == 0
            assert [output_of(made, each) for each in sent] == ["secret of one\n", "secret of two\n"]
        finally:
            made.close()


def nothing_is_spent(made: Site, arrival: Arrival, by: Person | None, *words: str) -> None:
    """Assert that a pass says what is in the way, and that the file waits as it did."""
    code, output, errors = made("run", "--all", by=by)
    assert code == 78 and all(word in errors for word in words), (output, errors)
    now = made.world.now(arrival)
    assert (now.state, now.attempts, made.world.runs_of(arrival)) == (ArrivalState.WAITING, 0, [])
    checked, _, said = made("tool", "check", "a", by=by)
    assert checked == 78 and all(word in said for word in words), said
    assert list((made.world.store / ".sftpgate/runs").iterdir()) == []


def test_what_a_user_may_not_spends_no_attempt() -> None:
    """A directory on the way, a sudo that refuses, a command that is not there: said beforehand, with what to do."""
    with site("cat $1", top=DIR_MODE, sudo=False) as (made, platform):
        arrival = made.send()
        service = made.service
        nothing_is_spent(made, arrival, service, "sudo does not let", f"{service.name} ALL=({platform.name}) NOPASSWD: ALL")
        (made.directory / "data").chmod(0o700)
        nothing_is_spent(made, arrival, None, f"{platform.name} cannot read", f"chmod o+x {made.directory}/data")
        (made.directory / "data").chmod(0o711)
        assert made("tool", "check", "a")[0] == 0
        made.settings.chmod(0o666)
        nothing_is_spent(made, arrival, None, "can be changed by others than root")
        made.settings.chmod(0o644)
        made.write(made.settings.read_text().replace("'/bin/sh'", "'/no/such/program'"))
        nothing_is_spent(made, arrival, None, "cannot execute /no/such/program")
        made.write(made.settings.read_text().replace(f"'{platform.name}'", "'nobody-here'"))
        nothing_is_spent(made, arrival, None, "there is no user 'nobody-here'")
        made.write(made.settings.read_text().replace("'nobody-here'", "'root'"))
        nothing_is_spent(made, arrival, None, "does not run as root")


def test_a_local_file_that_is_not_readable_is_lent() -> None:
    """A file that local programs left with other rights is readable for the tool's user in its run, and has them again after."""
    with site('cat "$1"', top=DIR_MODE) as (made, _):
        local = made.world.store / "a.csv"
        local.write_text("local\n")
        local.chmod(0o600)
        os.chown(local, made.service.uid, made.service.gid)
        assert made("run", "--all", by=made.service)[0] == 0
        [archived] = (made.world.store / "archives").iterdir()
        assert (archived.read_text(), stat.S_IMODE(archived.stat().st_mode), archived.stat().st_gid) == (
            "local\n",
            0o600,
            made.service.gid,
        )


def test_tool_check_says_what_would_be_run() -> None:
    """`tool check` names user, groups, way and variables, takes no file, and `doctor` has nothing to say of the tool then."""
    with site("cat $1", top=DIR_MODE) as (made, platform):
        arrival = made.send()
        code, said, errors = made("tool", "check", "a", by=made.service)
        assert (code, errors) == (0, "") and re.search(rf"user +{platform.name}", said) and "by sudo" in said, said
        assert "SFTPGATE_RESULT" in said and "SFTPGATE_TRYBACK" in said
        assert "by root" in made("tool", "check", "a")[1]
        assert made.world.now(arrival).state is ArrivalState.WAITING
        found = made("doctor", "--json", by=made.service)[1]
        assert '"check": "tools", "finding": "fine"' in " ".join(found.split()), found
        assert ".sftpgate can be read by others" not in found
        (made.world.store / ".sftpgate").chmod(0o715)
        assert ".sftpgate can be read by others" in made("doctor", "--json", by=made.service)[1]
        (made.directory / "data").chmod(0o700)
        assert f"{platform.name} cannot read" in made("doctor", by=made.service)[1].replace("\n", " ")


def test_the_advice_of_tool_check_works() -> None:
    """What `tool check` advises holds: once others may pass through data and store, our own directories follow."""
    with site("cat $1") as (made, _):
        (made.directory / "data").chmod(0o710)
        made.world.store.chmod(0o710)
        said = made("tool", "check", "a", by=made.service)
        for _ in range(2):
            advised = re.search(r"chmod o\+x (\S+),", said[2])
            assert advised is not None, said
            path = Path(advised[1])
            path.chmod(path.stat().st_mode | 0o001)
            said = made("tool", "check", "a", by=made.service)
        assert (said[0], said[2]) == (0, "")
        assert not {path.name for path in (made.world.store / ".sftpgate").iterdir() if path.stat().st_mode & 0o006} & {"runs"}


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed (Debian: util-linux)")
def test_capabilities_do_without_sudo_and_nonewprivileges_forbids_it() -> None:
    """With CAP_SETUID, CAP_SETGID and CAP_KILL, as a unit gives them, no sudo is needed, and the command has none of them."""
    with site("grep -h Cap /proc/self/status; id -un", top=DIR_MODE, sudo=False) as (made, platform):
        arrival = made.send()
        nothing = ["setpriv", f"--reuid={made.service.uid}", f"--regid={made.service.gid}", "--init-groups", "--no-new-privs"]
        capable = ["+setuid", "+setgid", "+kill"]
        words = [*nothing, f"--inh-caps={','.join(capable)}", f"--ambient-caps={','.join(capable)}"]
        process = made.start("run", "--all", by=made.service, before=nothing)
        assert process.communicate()[1].count("NoNewPrivileges") and process.returncode == 78
        process = made.start("run", "--all", by=made.service, before=words)
        assert (process.communicate()[1], process.returncode) == ("", 0)
        *lines, name = output_of(made, arrival).splitlines()
        assert name == platform.name
        found = {line.split(":")[0]: int(line.split()[1], 16) for line in lines}
        assert [found[key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb") if key != "CapInh"] == [0, 0, 0]


@pytest.mark.promise("P4")
def test_a_deaf_command_behind_a_sudo_of_its_own_keeps_its_file() -> None:
    """What we may not end is not called stopped: the claim stays held until it has ended, and nothing starts beside it."""
    with (
        people("other") as (other,),
        site("true", top=DIR_MODE) as (made, _),
        sudoers(f"{made.service.name} ALL=({other.name}) NOPASSWD: ALL"),
    ):
        pids = made.directory / "pids"
        pids.touch()
        pids.chmod(0o666)
        script = f"trap '' TERM HUP INT; echo $$ >> {pids}; while :; do sleep 1; done"
        command = ["sudo", "-n", "-u", other.name, "/bin/sh", "-c", script, "sh", "{file}"]
        tool = f"[tools.a]\nfile = 'a.csv'\narrivals = 'queue'\ntimeout = 0.5\ncommand = {command!r}\n"
        made.write(f"durability = 'relaxed'\nsettle_seconds = 0\n{DIR_MODE}\n{tool}")
        for path in (made.world.store / ".sftpgate/runs", made.world.store):
            os.chown(path, made.service.uid, made.service.gid)
        join(other, made.service)
        arrival = made.send()
        code, output, errors = made("run", "--all", by=made.service)
        assert code == 4 and "nothing else gets the file until that has ended" in output, (output, errors)
        assert made.world.now(arrival).state is ArrivalState.CLAIMED
        code, output, errors = made("run", "--all", by=made.service)
        assert code == 3 and made.world.now(arrival).state is ArrivalState.CLAIMED, (output, errors)
        [pid] = pids.read_text().split()
        made.write(made.settings.read_text().replace(repr(script), "'exit 0'"))
        os.kill(int(pid), 9)
        for _ in range(20):
            made("run", "--all", by=made.service)
            if made.world.now(arrival).state is ArrivalState.DONE:
                break
        assert made.world.now(arrival).state is ArrivalState.DONE
        assert len(pids.read_text().split()) == 1 and other.processes() == []


def test_a_lot_of_output_is_cut() -> None:
    """Of 1 GiB of output by another user the report has 64 MiB, and says how much was dropped."""
    with site("head -c 1073741824 /dev/zero", top=DIR_MODE) as (made, _):
        arrival = made.send()
        assert made("run", "--all", by=made.service)[0] == 0
        run = made.world.runs_of(arrival)[-1]
        path = Path(made.world.store / "reports" / str(run.output or run.report))
        assert 63 * 2**20 < path.stat().st_size < 65 * 2**20
        with path.open("rb") as file:
            assert re.search(rb"longer than 67108864 bytes: 100\d{7} bytes in its middle were dropped", file.read(4096))
