"""``sftpgate report-bug``: what it has, and what it must not have."""

from __future__ import annotations

from typing import Any

from tests.harness.command_line import Cli

TOOL = """
[tools.payroll]
file = "bulletin.csv"
command = ["/srv/private/pay", "--password=wrench", "{file}"]
run_as = "dupont"
"""
SECRETS = ("dupont", "payroll", "wrench", "bulletin", "/srv/private")


def test_a_report_helps_and_gives_nothing_away(cli: Cli) -> None:
    """Versions, counts and findings are there; no name, path, address, command or content is."""
    (cli.directory / "sftpgate.toml").write_text(TOOL, encoding="utf-8")
    cli("user", "add", "dupont")
    cli("store", "put", "-", "bulletin.csv", text="wrench,1\n")
    for said in (cli("report-bug").out, cli("report-bug", "--json").out):
        assert [secret for secret in SECRETS if secret in said or str(cli.directory) in said] == []
    report: dict[str, Any] = cli("report-bug", "--json").record
    assert report["versions"]["asyncssh"] and report["arrivals"] == {"waiting": 1}
    assert report["settings"]["tools.1.command"] == "(set)"
    assert any("[name]" in finding["finding"] for finding in report["findings"])
