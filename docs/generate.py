"""Writes the generated parts of the documents anew: ``make docs``. tests/unit/test_documents.py checks that they are up to date.

A generated part stands between ``<!-- NAME:begin … -->`` and ``<!-- NAME:end -->``; what is around it is written by people.
"""

from __future__ import annotations

from pathlib import Path

from sftpgate.cli.settings_table import as_markdown

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MATRIX = ROOT / "docs" / "client-matrix.md"
ANSWERS = ROOT / "docs" / "answers.md"  # tests/protocol/test_against_openssh.py writes and checks its table


def replaced(text: str, name: str, body: str) -> str:
    """``text`` with ``body`` between the two markers of ``name``. Raises ValueError where a marker is missing."""
    begin = text.index("-->", text.index(f"<!-- {name}:begin")) + len("-->")
    end = text.index(f"<!-- {name}:end -->", begin)
    return f"{text[:begin]}\n{body}\n{text[end:]}"


def client_matrix() -> str:
    """The table of clients of the last complete run of ``make clients``."""
    text = MATRIX.read_text(encoding="utf-8")
    return text.partition("<!-- matrix: begin -->")[2].partition("<!-- matrix: end -->")[0].strip()


def generated_readme() -> str:
    """What README.md should be."""
    return replaced(replaced(README.read_text(encoding="utf-8"), "settings", as_markdown()), "clients", client_matrix())


if __name__ == "__main__":
    README.write_text(generated_readme(), encoding="utf-8")
