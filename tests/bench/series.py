"""Measuring on a noisy machine: the servers take turns, and what counts is the ratio within a round.

The noise is measured beside it: a fixed piece of work is timed before each round, and its spread is reported.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Measure = Callable[[], float]

_PIECE = bytes(32 * 1024 * 1024)


@dataclass(slots=True)
class Series:
    """What was measured of one workload: values by server, in the order of the rounds."""

    values: dict[str, list[float]] = field(default_factory=dict)
    noise: list[float] = field(default_factory=list)

    def median(self, server: str) -> float:
        """The median value."""
        return statistics.median(self.values[server])

    def ratio(self, server: str, reference: str) -> float:
        """The median over the rounds of the server's value by the reference's in the same round."""
        pairs = zip(self.values[server], self.values[reference], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    @property
    def spread(self) -> float:
        """Standard deviation by mean of the fixed piece of work: 0 on a quiet machine."""
        return statistics.pstdev(self.noise) / statistics.fmean(self.noise) if self.noise else 0.0


def interleaved(measures: Mapping[str, Measure], rounds: int) -> Series:
    """Take each measure once a round, in an order that turns, after one round that does not count.

    What one server has left for the disk to write is written before the next one's turn: a flush of one file waits for it.
    """
    series = Series(values={name: [] for name in measures})
    names = list(measures)
    for number in range(rounds + 1):
        noise = timed(_piece_of_work)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            os.sync()
            value = measures[name]()
            if number:
                series.values[name].append(value)
        if number:
            series.noise.append(noise)
    return series


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _piece_of_work() -> None:
    hashlib.sha256(_PIECE).digest()
