"""The entry of the program: ``sftpgate``, and ``python -m sftpgate``.

Cron calls ``sftpgate run`` once a minute, mostly for nothing. Whether it is for nothing is looked at here, before anything is
imported that only other answers need.
"""

from __future__ import annotations

import sys

NOTHING_TO_DO = 3  # ExitCode.NOTHING_TO_DO


def main() -> None:
    """Run the command of ``sys.argv`` and end the process."""
    if sys.argv[1:2] == ["run"]:
        from sftpgate.app.idle_run import is_answer

        if is_answer(sys.argv[2:]):
            sys.exit(NOTHING_TO_DO)
    from sftpgate.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
