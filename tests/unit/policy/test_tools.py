"""The rules of tools: what is wrong with settings, the order, and what becomes of an arrival after a run."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import SettingsError
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState, after
from sftpgate.policy.names import NameRules
from sftpgate.policy.runs import PROCESSED, UNCOUNTED, Host, ProofOfLife, RunOutcome, event_after, proof_of_life
from sftpgate.policy.tools import check_tools, findings, in_order
from sftpgate.settings.tools import ToolSettings

RULES = NameRules()


def tool(file: str | tuple[str, ...] = "a.csv", **more: object) -> ToolSettings:
    """A tool that is pointed at ``file``."""
    return ToolSettings.model_validate({"file": file, "command": ["true"], **more})


@pytest.mark.parametrize("file", ["a.csv", "a*.csv", "sub/a?.csv", "sub/*/a.csv", "archive.csv", "reports.csv", "*"])
def test_files_inside_the_store(file: str) -> None:
    """Names and patterns of files in the store are fine, also in directories, also where they look like reserved ones."""
    assert findings({"a": tool(file)}, RULES) == []


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("archives/a.csv", "processed already"),
        ("Archives/a.csv", "processed already"),
        ("arch*/a.csv", "processed already"),
        ("*/a.csv", "processed already"),
        ("reports/*", "processed already"),
        (".sftpgate/claims/x", "processed already"),
        ("/etc/passwd", "absolute path"),
        ("../a.csv", "no path inside the store"),
        ("sub/../../a.csv", "no path inside the store"),
        ("sub//a.csv", "no path inside the store"),
        ("", "no path inside the store"),
        ("_a.csv", "never taken"),
        ("*.tmp", "never taken"),
        ("alock.txt", "never taken"),
        ("a\nb.csv", "can never arrive"),
        ("x" * 256, "can never arrive"),
    ],
)
def test_files_that_no_tool_can_have(file: str, why: str) -> None:
    """A tool that is pointed at what is managed, outside, or never taken is one finding, in one line."""
    [finding] = findings({"a": tool(file)}, RULES)
    assert why in finding and "\n" not in finding


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ({"a": tool("x.csv"), "b": tool("x.csv")}, "is what tools.a is pointed at"),
        ({"a": tool("*.csv"), "b": tool("x.csv")}, r"put \[tools.b\] before it"),
        ({"a": tool(after=["b"])}, "no tool 'b'"),
        ({"a": tool(after=["a"])}, "circle"),
        ({"a": tool("a", after=["b"]), "b": tool("b", after=["c"]), "c": tool("c", after=["a"])}, "circle"),
        ({"../a": tool()}, "a tool's name"),
        ({"a": tool(())}, "the list is empty"),
    ],
)
def test_tools_that_do_not_fit_together(tools: dict[str, ToolSettings], why: str) -> None:
    """Tools that are in each other's way are a settings error that says what to do."""
    with pytest.raises(SettingsError, match=why):
        check_tools(tools, RULES)


def test_disabled_tools_may_share_a_file() -> None:
    """Two tools may be pointed at one file as long as one of them is disabled: that is how one takes over from the other."""
    assert findings({"a": tool("x.csv", enabled=False), "b": tool("x.csv")}, RULES) == []


@given(st.permutations(["a", "b", "c", "d"]), st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"))))
def test_order_keeps_to_after(given_order: list[str], pairs: set[tuple[str, str]]) -> None:
    """Every tool comes after those that it names, and every tool comes once; what has no such order is refused."""
    forward = [(first, then) for first, then in pairs if first < then]
    tools = {name: tool(name, after=[first for first, then in forward if then == name]) for name in given_order}
    ordered = in_order(tools, given_order)
    assert sorted(ordered) == ["a", "b", "c", "d"]
    assert all(ordered.index(first) < ordered.index(then) for first, then in forward)


def test_order_of_the_settings_is_kept() -> None:
    """Tools without an order of their own run as they stand in the settings."""
    tools = {name: tool(name) for name in ("z", "m", "a")}
    assert in_order(tools, list(tools)) == ["z", "m", "a"]


@pytest.mark.promise("P4")
def test_every_end_of_a_run_is_a_transition() -> None:
    """Whatever the end of a run, the arrival leaves the state claimed, and it comes back less than max_attempts times."""
    for outcome, attempts, occupied, queued in product(RunOutcome, (1, 2, 3), (False, True), (False, True)):
        event = event_after(outcome, attempts=attempts, max_attempts=3, occupied=occupied, queued=queued)
        state = after(ArrivalState.CLAIMED, event)
        assert (state is ArrivalState.DONE) == (outcome in PROCESSED)
        if attempts == 3 and outcome not in PROCESSED | UNCOUNTED | {RunOutcome.INTERRUPTED}:
            assert event is ArrivalEvent.QUARANTINED
        elif outcome not in PROCESSED and not occupied:
            assert event is ArrivalEvent.RETURNED


@pytest.mark.promise("P4")
def test_what_proves_life() -> None:
    """The lock counts on one kernel, the lease elsewhere, and nothing lives from before a reboot."""
    here = Host("web1", "m1", "b2")
    assert Host.parse(str(here)) == here
    assert proof_of_life(here, 7, here) is ProofOfLife.LOCK
    assert proof_of_life(Host("container", "", "b2"), 7, here) is ProofOfLife.LOCK
    assert proof_of_life(Host("web1", "m1", "b1"), 7, here) is ProofOfLife.NONE
    assert proof_of_life(Host("web2", "m2", "b3"), 7, here) is ProofOfLife.LEASE
    assert proof_of_life(Host("web1", "", ""), 7, Host("web1", "", "")) is ProofOfLife.LEASE
    assert proof_of_life(here, 0, here) is ProofOfLife.LEASE
    assert proof_of_life(Host.parse("something old"), 7, here) is ProofOfLife.LEASE


@pytest.mark.promise("P4")
def test_what_proves_the_life_of_a_script() -> None:
    """A script's process counts where its id means something: in the same namespace of the same boot; else the lease does."""
    here = Host("web1", "m1", "b2", "pid:[1]")
    assert Host.parse(str(here)) == here
    assert proof_of_life(here, -7, here) is ProofOfLife.PROCESS
    assert proof_of_life(Host("web1", "m1", "b2", "pid:[2]"), -7, here) is ProofOfLife.LEASE
    assert proof_of_life(Host("web1", "m1", "b2"), -7, Host("web1", "m1", "b2")) is ProofOfLife.LEASE
    assert proof_of_life(Host("web1", "m1", "b1", "pid:[1]"), -7, here) is ProofOfLife.NONE
    assert proof_of_life(Host("web2", "m2", "b3", "pid:[1]"), -7, here) is ProofOfLife.LEASE
