"""``sftpgate service`` on a machine with a real systemd."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.machines import Machine

LARGEST_EXPOSURE = 2.0  # by systemd-analyze security, of 10
HOME = "/srv/sftpgate"


@pytest.fixture
def sftpgate(opt: Path) -> str:
    """The installed program."""
    return str(opt / "bin" / "sftpgate")


def upload(machine: Machine, sftpgate: str, name: str, content: str) -> None:
    """A user of the gate who is made for it sends a file with OpenSSH's sftp."""
    machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
    machine.run("sh", "-c", f"cd {HOME} && {sftpgate} user add erp --key /root/key.pub")
    machine.run("tee", f"/root/{name}", text=content)
    options = ["-q", "-b", "-", "-i", "/root/key", "-o", "StrictHostKeyChecking=no", "-P", "22"]
    machine.run("sftp", *options, "erp@127.0.0.1", text=f"put /root/{name} {name}\n")


def arrivals(machine: Machine, sftpgate: str) -> dict[str, str]:
    """The state of each file that came."""
    rows = json.loads(machine.run("sh", "-c", f"cd {HOME} && {sftpgate} arrivals --json").stdout)
    return {row["path"]: row["state"] for row in rows}


@pytest.mark.promise("P1", "P4")
def test_from_a_program_to_a_service_and_back(machine: Machine, sftpgate: str) -> None:
    """The service serves on port 22, its timer runs a tool as the platform's user, it is removed; data and keys stay."""
    call = [sftpgate, "service", "install", "--group", "www-data", "--port", "22"]
    assert "nothing was done" in machine.run(*call, "--dry-run").stdout
    assert machine.run("id", "sftpgate", may_fail=True).returncode == 1

    machine.run(*call, "--yes")
    assert machine.run("systemctl", "is-active", "sftpgate.service", "sftpgate-run.timer").stdout.split() == ["active"] * 2
    assert machine.run("stat", "-c", "%U:%G %a", f"{HOME}/data", f"{HOME}/keys", f"{HOME}/sftpgate.toml").stdout.split("\n") == [
        "sftpgate:www-data 750", "sftpgate:sftpgate 700", "root:sftpgate 640", "",
    ]  # fmt: skip

    tool = '[tools.who]\nfile = "who.csv"\nrun_as = "www-data"\ncommand = ["id", "-un"]\n'
    machine.run("tee", "-a", f"{HOME}/sftpgate.toml", text=tool)
    capabilities = "[Service]\nAmbientCapabilities=CAP_SETUID CAP_SETGID CAP_KILL\n"
    machine.run("mkdir", "/etc/systemd/system/sftpgate-run.service.d")
    machine.run("tee", "/etc/systemd/system/sftpgate-run.service.d/run_as.conf", text=capabilities)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reload", "sftpgate.service")
    upload(machine, sftpgate, "who.csv", "a,b\n1,2\n")
    machine.run("systemctl", "start", "sftpgate-run.service")  # as the timer does
    assert arrivals(machine, sftpgate) == {"who.csv": "done"}
    assert "www-data" in machine.run("sh", "-c", f"cat {HOME}/data/store/reports/*_report_who.csv*").stdout

    machine.run(sftpgate, "service", "remove", "--yes")
    assert machine.run("systemctl", "is-active", "sftpgate.service", may_fail=True).stdout.strip() in ("inactive", "unknown")
    assert machine.run("sh", "-c", "ls /etc/systemd/system/sftpgate*.service", may_fail=True).stdout == ""
    assert arrivals(machine, sftpgate) == {"who.csv": "done"}
    assert "nothing to do" in machine.run(sftpgate, "service", "remove", "--yes").stdout


def test_the_commands_of_the_page(machine: Machine, opt: Path) -> None:
    """What docs/admin.md says to type makes a service (what it says before that makes the wheel: test_wheel.py)."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "admin.md").read_text(encoding="utf-8")
    lines = page.partition("## As a service")[2].partition("```sh\n")[2].partition("```")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["make", "python3", "/opt/sftpgate/bin/pip", "ln", "sftpgate"]
    machine.run("ln", "-sfn", str(opt), "/opt/sftpgate")
    machine.run("sh", "-ec", "\n".join(line.partition("#")[0] for line in lines[3:]).rstrip() + " --yes")
    assert machine.run("systemctl", "is-active", "sftpgate.service").stdout == "active\n"
    machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
    machine.run("sh", "-c", f"cd {HOME} && sftpgate user add erp --key /root/key.pub && sftpgate user list")


def test_what_is_there_stays(machine: Machine, sftpgate: str) -> None:
    """A second call does nothing; user, directory and settings of before are used as they are; others' units are refused."""
    machine.run("useradd", "--system", "--uid", "777", "sftpgate")
    machine.run("install", "-d", "-o", "sftpgate", "-m", "755", f"{HOME}/data")
    machine.run("tee", f"{HOME}/sftpgate.toml", text="host = '127.0.0.1'\n")
    machine.run(sftpgate, "service", "install", "--no-start", "--yes")
    assert machine.run("cat", f"{HOME}/sftpgate.toml").stdout == "host = '127.0.0.1'\n"
    assert machine.run("stat", "-c", "%a", f"{HOME}/data").stdout == "755\n"
    assert "nothing to do" in machine.run(sftpgate, "service", "install", "--no-start", "--yes").stdout

    machine.run("tee", "/etc/systemd/system/sftpgate.service", text="[Service]\nExecStart=/bin/true\n")
    for command in ("install", "remove"):
        refused = machine.run(sftpgate, "service", command, "--yes", may_fail=True)
        assert (refused.returncode, "sftpgate.service" in refused.stderr) == (ExitCode.REFUSED, True), refused
    assert "/bin/true" in machine.run("cat", "/etc/systemd/system/sftpgate.service").stdout


def test_data_of_somebody_else(machine: Machine, sftpgate: str) -> None:
    """A directory that the service could not write to is refused with what to do, and nothing was done."""
    machine.run("install", "-d", "-o", "www-data", f"{HOME}/data")
    refused = machine.run(sftpgate, "service", "install", "--yes", may_fail=True)
    assert refused.returncode == ExitCode.REFUSED and f"chown -R sftpgate {HOME}/data" in refused.stderr
    assert machine.run("id", "sftpgate", may_fail=True).returncode == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", "root"], "root"),
        (["--user", "Erp User"], "cannot be the name"),
        (["--group", "nobody-has-it"], "there is no group nobody-has-it"),
        (["--port", "70000"], "1 to 65535"),
        (["--directory", "/home/gate"], "ProtectHome"),
        (["--directory", "/srv/a gate"], "no absolute path"),
        (["--directory", "/etc/hostname"], "in the way"),
        (["--host", "0.0.0.0 evil"], "no address"),
    ],
)
def test_what_cannot_be_is_refused(machine: Machine, sftpgate: str, options: list[str], said: str) -> None:
    """Each is an error that names what is wrong, and nothing was done."""
    done = machine.run(sftpgate, "service", "install", "--yes", *options, may_fail=True)
    assert done.returncode and said in done.stderr, done
    assert machine.run("ls", HOME, may_fail=True).stdout == ""
    assert machine.run("sh", "-c", "ls /etc/systemd/system/sftpgate*", may_fail=True).stdout == ""


def test_a_machine_that_is_not_fit(machine: Machine, sftpgate: str) -> None:
    """Somebody else than root, a read-only /etc, and a machine without systemd are errors with what to do."""
    ordinary = machine.run("runuser", "-u", "nobody", "--", sftpgate, "service", "install", "--yes", may_fail=True)
    assert "sudo" in ordinary.stderr
    read_only = (
        f"mount --bind /etc/systemd/system /etc/systemd/system && mount -o remount,bind,ro /etc/systemd/system && {sftpgate}"
    )
    done = machine.run("unshare", "--mount", "sh", "-c", f"{read_only} service install --yes", may_fail=True)
    assert (done.returncode, "read-only" in done.stderr) == (ExitCode.REFUSED, True), done
    without = f"umount -l /run && mount -t tmpfs tmpfs /run && {sftpgate} service install --yes"
    done = machine.run("unshare", "--mount", "sh", "-c", without, may_fail=True)
    assert (done.returncode, "cron" in done.stderr) == (ExitCode.REFUSED, True), done


@pytest.mark.parametrize("name", ["sftpgate.service"])
def test_exposure(machine: Machine, sftpgate: str, name: str) -> None:
    """systemd finds little that the service could do besides its work."""
    machine.run(sftpgate, "service", "install", "--no-start", "--yes")
    machine.run("systemctl", "daemon-reload")
    said = machine.run("systemd-analyze", "security", "--no-pager", name).stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert found and float(found[1]) <= LARGEST_EXPOSURE, said
