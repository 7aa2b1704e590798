"""Who acts, as the record has it: no sender can be taken for somebody else, whatever it is called (P8)."""

from __future__ import annotations

import pytest

from sftpgate.ledger.audit.actor import STRANGER, SYSTEM, Actor, Role, command, local_account, runner, sender

NAMES = ("erp", "admin", "runner", "system", "cli", "user", "root")


@pytest.mark.promise("P8")
@pytest.mark.parametrize("actor", [*map(sender, NAMES), SYSTEM, STRANGER, command(), runner()], ids=str)
def test_text_and_back(actor: Actor) -> None:
    """The text of an actor is that of no other, and becomes the same actor again."""
    assert Actor.parse(str(actor)) == actor


@pytest.mark.promise("P8")
def test_texts_of_earlier_records() -> None:
    """Senders, commands, runners and the gate are written as they always were."""
    written = [str(actor) for actor in (sender("erp"), sender("admin"), command(), runner(), SYSTEM, STRANGER)]
    assert written == ["erp", "admin", f"cli:{local_account()}", f"runner:{local_account()}", "system", "?"]


@pytest.mark.promise("P8")
def test_a_sender_called_system() -> None:
    """A sender that has the gate's own word for a name is told from the gate."""
    assert str(sender("system")) == "user:system"
    assert Actor.parse("system").role is Role.SYSTEM
