"""Fuzzing: bounded here, for longer with ``make fuzz``.

``SFTPGATE_FUZZ_SECONDS`` is the time for each target; without it, a number of inputs that takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import packets
from tests.fuzz.targets import SEEDS, TARGETS, Target

SECONDS = float(os.environ.get("SFTPGATE_FUZZ_SECONDS", "0"))
RUNS = {"packets": 300, "settings": 3000, "live_users": 3000, "proxy_header": 5000}
USUAL_RUNS = 10_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", [*TARGETS, "packets"])
def test_guided_by_coverage(name: str) -> None:
    """No input leads to an exception that nobody foresaw, to a hang, or to more memory than there should be."""
    pytest.importorskip("atheris", reason="atheris is not there for this Python")
    bound = [f"-max_total_time={SECONDS:.0f}"] if SECONDS else [f"-runs={RUNS.get(name, USUAL_RUNS)}", "-seed=1"]
    words = [sys.executable, "-m", "tests.fuzz.run", name, *bound, "-max_len=2048", "-print_final_stats=1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, errors="replace")
    print(done.stderr[-1500:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


@pytest.mark.parametrize("name", TARGETS)
def test_from_good_examples(name: str) -> None:
    """The same for what Hypothesis makes of the good examples: cut, doubled, with something in between."""
    target: Target = TARGETS[name]
    seeds = st.sampled_from(SEEDS[name])

    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(before=seeds, noise=st.binary(max_size=40), after=seeds, cut=st.integers(0, 200), again=st.integers(0, 200))
    def mangled(before: bytes, noise: bytes, after: bytes, cut: int, again: int) -> None:
        target(before[:cut] + noise + after[again:])

    mangled()


def test_packets_cost_no_memory() -> None:
    """Eight hundred hostile sessions leave the server as large as two hundred did."""
    process = psutil.Process()
    with packets.Hostile() as hostile:
        for _ in range(200 // len(packets.SEEDS)):
            for seed in packets.SEEDS:
                hostile(seed)
        before = process.memory_info().rss
        for _ in range(600 // len(packets.SEEDS)):
            for seed in packets.SEEDS:
                hostile(seed)
        grown = process.memory_info().rss - before
    assert grown < 8 * 1024 * 1024, f"{grown} bytes"
