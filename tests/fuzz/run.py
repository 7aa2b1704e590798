"""Fuzz one target, guided by coverage: ``python -m tests.fuzz.run TARGET [options of libFuzzer]``.

Without options it runs until it finds something. What it finds is written to ``.make/fuzz/TARGET/`` and can be given as an
argument to see it again.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # no stubs

# what is imported here is instrumented; the targets come last
with atheris.instrument_imports(include=["sftpgate", "tomllib"]):
    from tests.fuzz import packets, targets

FOUND = Path(__file__).resolve().parents[2] / ".make/fuzz"


def main() -> None:
    """Run; ends the process, with a status other than 0 where something was found."""
    name = sys.argv[1]
    corpus = FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = packets.SEEDS if name == "packets" else targets.SEEDS[name]
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-artifact_prefix={corpus}/", "-rss_limit_mb=1024", "-timeout=60", *sys.argv[2:]]
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(packets.Hostile()) if name == "packets" else targets.TARGETS[name]
        atheris.Setup([sys.argv[0], *options, str(corpus)], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
