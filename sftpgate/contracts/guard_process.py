"""The process that holds files against contracts, so that nothing in a file can take anybody along.

``judges`` starts it. It imports what judging needs once, and forks for each job: a small file is judged in some milliseconds. A
job comes as one message with descriptors: the job in JSON, where to write the answer, the file, and the one that it is compared
with. The fork limits its own memory, processor time and time before it reads anything of the files, opens no file by name, and
writes nothing but its answer. What it cannot finish it does not answer. When its starter is gone, it ends with all its forks.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sftpgate.contracts.difference import Counts

MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 300
MOST_FDS = 5  # of one job
MOST_GROUPS = 10  # that an answer has, the ones with the most changes


def main(link: socket.socket) -> None:
    """Fork for each job that comes, until the other end is closed."""
    # what is imported is imported before any file is looked at
    import sftpgate.contracts.judge  # noqa: F401 - for the forks

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork: its answer says how it went
    gc.collect()
    gc.freeze()
    with contextlib.suppress(ConnectionError):
        while True:
            message, fds, _, _ = socket.recv_fds(link, 1, MOST_FDS)
            if not message:
                break
            with contextlib.suppress(OSError):  # no process to be had: the job has no answer then
                if os.fork() == 0:
                    link.close()
                    _judge_and_exit(fds)
            for fd in fds:
                os.close(fd)
    os.killpg(0, signal.SIGKILL)


def _judge_and_exit(fds: Sequence[int]) -> None:
    answer = fds[1]
    try:
        _write(answer, _judge(*fds))
    except MemoryError:
        pass  # there is no answer, as if the kernel had ended us
    except Exception as error:  # noqa: BLE001 - a bug of ours: it is said, and the file is held
        _write(answer, {"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _write(fd: int, answer: Mapping[str, object]) -> None:
    content = json.dumps(answer).encode()
    while content:
        content = content[os.write(fd, content) :]


def _judge(job_fd: int, _answer_fd: int, *file_fds: int) -> Mapping[str, object]:
    """Judge one file, and return the answer. The files are those that the job names: ``content``, and perhaps ``last`` and
    ``scratch``.
    """
    from sftpgate.contracts.judge import History, Processed, judge
    from sftpgate.settings.contracts import ContractSettings

    with os.fdopen(job_fd, "rb") as file:
        file.seek(0)
        job: dict[str, Any] = json.load(file)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(int(job["seconds"]))
    gc.disable()  # rows have no cycles, and looking for some among ten thousand lists takes a fifth of the time
    files = dict(zip(job["files"], file_fds, strict=True))
    history = History(
        open_last=(lambda: os.fdopen(os.dup(files["last"]), "rb")) if "last" in files else None,
        processed=[Processed(sha256=sha256, at=datetime.fromisoformat(at)) for sha256, at in job["processed"]],
    )
    contract = ContractSettings.model_validate(job["contract"])
    now = datetime.fromisoformat(job["now"])
    with os.fdopen(files["content"], "rb") as content:
        verdict = judge(content, contract, history, now=now, scratch=lambda: os.fdopen(files["scratch"], "w+b"))
    rows = [[each.code, each.line, each.count, dict(each.details)] for each in verdict.objections]
    difference = verdict.difference
    return {
        "sha256": verdict.sha256,
        "converted": [verdict.converted_from, verdict.converted_sha256],
        "rows": verdict.rows,
        "objections": rows,
        "difference": None if difference is None else _counts(difference.whole),
        "groups": [] if difference is None else [[name, *_counts(each)] for name, each in _worst(difference.groups)],
    }


def _counts(counts: Counts) -> list[int]:
    return [counts.of, counts.added, counts.changed, counts.removed]


def _worst(groups: Mapping[str, Counts]) -> list[tuple[str, Counts]]:
    differing = [(name, counts) for name, counts in groups.items() if counts.differing]
    return sorted(differing, key=lambda item: (-item[1].differing, item[0]))[:MOST_GROUPS]


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
