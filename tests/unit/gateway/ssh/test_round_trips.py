"""Round trips of the beginning of a session, from the times of its requests and answers."""

from __future__ import annotations

import pytest

from sftpgate.gateway.ssh.round_trips import RoundTrips

ASK, ANSWER = "ask", "answer"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # the first request waits for nothing, then the client takes 50, 70 and 60 ms
        ([(ASK, 0), (ANSWER, 1), (ASK, 51), (ANSWER, 60), (ASK, 130), (ANSWER, 140), (ASK, 200)], [None, None, None, 50]),
        # a request in several pieces, an answer in several packets: the last of it counts
        ([(ANSWER, 0), (ANSWER, 10), (ASK, 20), (ASK, 900), (ANSWER, 1000), (ASK, 1008), (ANSWER, 1010), (ASK, 1060)],
         [None, None, None, 8]),
        # one that does not wait makes the line short
        ([(ANSWER, 0), (ASK, 50), (ANSWER, 51), (ASK, 51), (ANSWER, 52), (ASK, 102)], [None, None, 0]),
    ],
)  # fmt: skip
def test_the_shortest_of_the_first_ones(events: list[tuple[str, int]], expected: list[float | None]) -> None:
    """The line is as long as the quickest of the first few requests after an answer says; before, it is not known."""
    trips, found = RoundTrips(), []
    for kind, at in events:
        if kind == ASK:
            found.append(trips.asked(at))
        else:
            trips.answered(at)
    assert found == expected
