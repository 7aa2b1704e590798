"""Writes the generated parts of the documents anew: ``make docs``. tests/unit/test_documents.py checks that they are up to date.

A generated part stands between ``<!-- NAME:begin … -->`` and ``<!-- NAME:end -->``; what is around it is written by people.
"""

from __future__ import annotations

from pathlib import Path

from docs import promise_tests
from sftpgate.cli.commands.settings import as_markdown, contract_as_markdown, expect_as_markdown, notify_as_markdown
from sftpgate.contracts.objections import TEXTS
from sftpgate.settings.choices import Language

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
NOTIFICATIONS = ROOT / "docs" / "notifications.md"
CONTRACTS = ROOT / "docs" / "contracts.md"
EXPECTED = ROOT / "docs" / "expected-files.md"
SETTINGS = ROOT / "docs" / "settings.md"
CLIENTS = ROOT / "docs" / "clients.md"  # tests/clients/matrix.py writes its table
ANSWERS = ROOT / "docs" / "answers.md"  # tests/protocol/test_against_openssh.py writes and checks its table


def replaced(text: str, name: str, body: str) -> str:
    """Return ``text`` with ``body`` between the two markers of ``name``. Raises ValueError if a marker is missing."""
    begin = text.index("-->", text.index(f"<!-- {name}:begin")) + len("-->")
    end = text.index(f"<!-- {name}:end -->", begin)
    return f"{text[:begin]}\n{body}\n{text[end:]}"


def generated_settings() -> str:
    """Return what docs/settings.md should be."""
    return replaced(SETTINGS.read_text(encoding="utf-8"), "settings", as_markdown())


def generated_contracts() -> str:
    """Return what docs/contracts.md should be: its tables of keys and of objections."""
    said = ["| code | what is said | en français |", "| --- | --- | --- |"]
    for code, texts in TEXTS.items():
        english, french = (texts[language][0].replace("|", "\\|") for language in (Language.ENGLISH, Language.FRENCH))
        said.append(f"| `{code}` | {english} | {french} |")
    text = replaced(CONTRACTS.read_text(encoding="utf-8"), "contract", contract_as_markdown())
    return replaced(text, "objections", "\n".join(said))


def generated_notifications() -> str:
    """Return what docs/notifications.md should be: its tables of keys."""
    return replaced(NOTIFICATIONS.read_text(encoding="utf-8"), "notify", notify_as_markdown())


def generated_expected_files() -> str:
    """Return what docs/expected-files.md should be: its table of keys."""
    return replaced(EXPECTED.read_text(encoding="utf-8"), "expect", expect_as_markdown())


if __name__ == "__main__":
    CONTRACTS.write_text(generated_contracts(), encoding="utf-8")
    NOTIFICATIONS.write_text(generated_notifications(), encoding="utf-8")
    EXPECTED.write_text(generated_expected_files(), encoding="utf-8")
    SETTINGS.write_text(generated_settings(), encoding="utf-8")
    promise_tests.PAGE.write_text(promise_tests.generated(), encoding="utf-8")
