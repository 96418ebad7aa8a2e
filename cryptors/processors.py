"""How many processors this process may use, by the scheduler's affinity and the quotas of its control groups.

A container that is limited to two processors of a large machine sees all of them. Threads beyond the quota make it no
faster: the kernel stops all of its threads for the rest of each period.
"""

import os

__all__ = ["usable_processors"]

VERSION_1 = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")
VERSION_2 = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Where groups that can have quotas are mounted; the second of version 2 is where it stands beside version 1."""


def usable_processors(root: str = "") -> int:
    """Returns the number of processors, at least one; a quota of a part of one counts as a whole.

    Args:
        root: what to put before `/proc` and `/sys`.
    """
    quotas = [quota for group in _groups(root) if (quota := _quota(group)) is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def _groups(root: str) -> list[str]:
    """Returns the directories of this process's control groups and of those above them, whether they exist or not."""
    groups = []
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)  # cgroups(7)
        mounts = VERSION_2 if not controllers else VERSION_1 if "cpu" in controllers.split(",") else ()
        # A container may be shown the path that its group has outside; then its own group is the mount itself.
        names = [name for name in path.split("/") if name]
        for depth in range(len(names), -1, -1):
            groups += ["/".join([root + mount, *names[:depth]]) for mount in mounts]
    return groups


def _quota(group: str) -> int | None:
    """Returns the quota of one group: version 2 has one file for it, version 1 has two."""
    text = _read(f"{group}/cpu.max") or _read(f"{group}/cpu.cfs_quota_us") + _read(f"{group}/cpu.cfs_period_us")
    words = text.split()
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None  # There is no such group, or it says "max" or -1.
    quota, period = map(int, words)
    return -(-quota // period)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
