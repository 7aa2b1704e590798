"""A machine of its own with systemd as its first process, for a test that installs something.

It has this machine's files, and what it changes is in memory and goes with it: accounts, units, data. It has processes, a name,
a network and control groups of its own. Needs root and Debian's package systemd.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

BOOT_SECONDS = 60
COMMAND_SECONDS = 120

# What belongs to the kernel or the disks of the machine below is left alone.
_LEFT_ALONE = (
    "systemd-binfmt.service", "systemd-modules-load.service", "systemd-remount-fs.service", "systemd-sysctl.service",
    "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-random-seed.service", "systemd-update-utmp.service",
    "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "local-fs.target", "swap.target",
    "systemd-networkd.service", "systemd-resolved.service", "networking.service", "cron.service", "ssh.service",
    "postgresql.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer", "logrotate.timer", "man-db.timer",
)  # fmt: skip

_BOOT = r"""
set -e
work=$1; shift
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd" && mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
while [ "$1" != -- ]; do ln -sf /dev/null "$root/etc/systemd/system/$1"; shift; done; shift
for shared in "$@"; do mkdir -p "$root$shared"; mount --bind "$shared" "$root$shared"; done
ip link set lo up
echo 00000000000000000000000000000001 > "$root/etc/machine-id"
mkdir "$root/run/below"
cd "$root"
pivot_root . run/below
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
    cd /
    umount --lazy /run/below
    exec /lib/systemd/systemd --system --unit=multi-user.target'
"""


class Machine:
    """One machine, from its start to its end. ``shared``: directories that it sees as they are here."""

    def __init__(self, work: Path, shared: Sequence[Path] = ()) -> None:
        work.mkdir()
        self._groups = _own_groups(f"sftpgate-test-{os.getpid()}")
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]
        self._said = work.parent / "boot.txt"
        with self._said.open("w") as said:
            self._starter = subprocess.Popen(
                [*unshare, "bash", "-c", _BOOT, "boot", str(work), *_LEFT_ALONE, "--", *map(str, shared)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                preexec_fn=self._join_groups, start_new_session=True,
            )  # fmt: skip
        self.first = self._wait_until_up()

    def _join_groups(self) -> None:
        for group in self._groups:
            (group / "cgroup.procs").write_text("0")

    def _wait_until_up(self) -> int:
        """Return the number of its first process, when systemd says that all is started."""
        ends_at = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < ends_at and self._starter.poll() is None:
            children = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
                self.first = int(children[0])
                said = self.run("systemctl", "is-system-running", "--wait", may_fail=True).stdout.strip()
                if said in ("running", "degraded"):
                    return self.first
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"the machine did not start: {self._said.read_text()}")

    def run(self, *command: str, text: str = "", may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root. Its failure is the test's, unless it ``may_fail``."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.first), "--all", "--root", "--wdns=/", *command],
            input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
        )  # fmt: skip
        if done.returncode and not may_fail:
            journal = self.run("journalctl", "--no-pager", "--lines=40", "--unit=sftpgate*", may_fail=True).stdout
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{journal}")
        return done

    def stop(self) -> None:
        """Turn it off, as a power cut does."""
        self._starter.send_signal(signal.SIGKILL)
        self._starter.wait()
        for group in self._groups:
            _remove_groups(group)


def programs_are_there() -> bool:
    """Whether this machine has what it takes."""
    return os.geteuid() == 0 and Path("/lib/systemd/systemd").exists() and shutil.which("nsenter") is not None


def _own_groups(name: str) -> list[Path]:
    """Control groups of the machine's own, one in each hierarchy, below which its systemd works. (In one of cpusets nothing can
    start before it is told which processors.)"""
    top = Path("/sys/fs/cgroup")
    several = {path.resolve() for path in top.iterdir() if path.name != "cpuset" and (path / "cgroup.procs").exists()}
    tops = [top] if (top / "cgroup.procs").exists() else sorted(several)
    for top in tops:
        (top / name).mkdir(exist_ok=True)
    return [top / name for top in tops]


def _remove_groups(group: Path) -> None:
    for _ in range(100):
        if not any(path.read_text() for path in group.rglob("cgroup.procs")):
            break
        time.sleep(0.05)
    for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()
    group.rmdir()
