"""A flame graph of one workload: ``python -m tests.bench.profile WORKLOAD`` (``make profile``).

py-spy looks at the worker process from outside, so nothing of it is changed; a few rounds of the workload run meanwhile.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import transfers
from tests.bench.contenders import Server, Sftpgate
from tests.bench.scratch import Scratch

RESULTS = Path(__file__).resolve().parents[2] / ".make"
SAMPLES_PER_SECOND = 200


def _download(server: Server, scratch: Scratch) -> float:
    server.do(f"put {scratch.big} {server.target}/big.bin")
    return transfers.download(server, f"{server.target}/big.bin")


WORKLOADS: dict[str, tuple[Callable[[Server, Scratch], float], int]] = {
    "upload": (transfers.upload, 4),
    "download": (_download, 3),
    "small_files": (transfers.small_files, 3),
    "connect": (transfers.connect, 20),
}


def main() -> None:
    """Write the graph."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    name: str = parser.parse_args().workload
    workload, times = WORKLOADS[name]
    RESULTS.mkdir(exist_ok=True)
    graph = RESULTS / f"profile-{name}.svg"
    with Scratch() as scratch:
        server = Sftpgate(scratch.directory / "server")
        server.start()
        try:
            workload(server, scratch)
            worker = max(server.processes(), key=lambda process: process.cpu_times().user).pid
            words = ["record", "--pid", str(worker), "--rate", str(SAMPLES_PER_SECOND), "--output", str(graph), "--gil"]
            recorder = subprocess.Popen([Path(sys.executable).with_name("py-spy"), *words])
            for _ in range(times):
                workload(server, scratch)
            recorder.send_signal(signal.SIGINT)
            recorder.wait()
        finally:
            server.stop()
    print(f"written: {graph}")


if __name__ == "__main__":
    main()
