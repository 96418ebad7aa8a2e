"""Processors are counted by what the process may use, wherever its control groups are mounted."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from cryptors.processors import usable_processors

MANY = set(range(64))


@pytest.fixture(autouse=True)
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: MANY)


def usable(root: Path, groups: str, files: Mapping[str, str]) -> int:
    """Returns the number for a machine with this /proc/self/cgroup and these files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_processors(str(root))


def version_1(group: str, quota: int, period: int = 100000, mount: str = "cpu") -> dict[str, str]:
    """Returns the files of a group of version 1."""
    return {f"{mount}{group}/cpu.cfs_quota_us": f"{quota}\n", f"{mount}{group}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000\n", 64),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100001 100000\n", 2),
        ("1000 100000\n", 1),
        ("50000 20000\n", 3),
        ("9900000 100000\n", 64),
        ("", 64),
        ("nonsense\n", 64),
    ],
)
def test_version_2(tmp_path: Path, text: str, count: int) -> None:
    assert usable(tmp_path, "0::/work\n", {"work/cpu.max": text}) == count


def test_a_group_above_can_be_narrower(tmp_path: Path) -> None:
    files = {"a/b/c/cpu.max": "max 100000", "a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}
    assert usable(tmp_path, "0::/a/b/c\n", files) == 3


def test_other_groups_do_not_count(tmp_path: Path) -> None:
    assert usable(tmp_path, "0::/a\n", {"b/cpu.max": "100000 100000", "a/b/cpu.max": "100000 100000"}) == 64


def test_group_of_a_container_that_is_shown_its_path_outside(tmp_path: Path) -> None:
    """The container's own group is mounted as the root of all that it sees."""
    assert usable(tmp_path, "0::/docker/0123abcd\n", {"cpu.max": "400000 100000"}) == 4


def test_version_2_beside_version_1(tmp_path: Path) -> None:
    assert usable(tmp_path, "1:name=systemd:/\n0::/a\n", {"unified/a/cpu.max": "500000 100000"}) == 5


@pytest.mark.parametrize(("quota", "count"), [(-1, 64), (250000, 3), (10000, 1)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, quota: int, count: int, mount: str) -> None:
    groups = f"4:memory:/x\n3:{mount}:/a/b\n2:cpuset:/y\n"
    assert usable(tmp_path, groups, version_1("/a/b", quota, mount=mount)) == count


def test_version_1_with_a_narrower_group_above(tmp_path: Path) -> None:
    files = version_1("/a/b", 800000) | version_1("/a", 60000, period=20000) | version_1("", -1)
    assert usable(tmp_path, "3:cpu:/a/b\n", files) == 3


def test_quota_of_another_controller_does_not_count(tmp_path: Path) -> None:
    assert usable(tmp_path, "3:cpuset:/a\n", version_1("/a", 100000)) == 64


def test_affinity_can_be_narrower_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 7})
    assert usable(tmp_path, "0::/\n", {"cpu.max": "400000 100000"}) == 2


def test_machine_without_control_groups(tmp_path: Path) -> None:
    assert usable_processors(str(tmp_path)) == 64


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= usable_processors() <= len(os.sched_getaffinity(0))
