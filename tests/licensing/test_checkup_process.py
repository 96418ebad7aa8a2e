"""The check-up of what protects a process: key memory, debuggers, core dumps, swap, variables."""

from pathlib import Path

import pytest

from licensing.checkup_process import check_process
from licensing.findings import Finding
from licensing.secret_memory import MemoryKind
from licensing.surroundings import System
from tests.fake_system import SystemBuilder

HEADING = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.fixture
def builder(tmp_path: Path) -> SystemBuilder:
    return SystemBuilder(tmp_path)


def found(system: System, kind: MemoryKind = "secret", limit: int | None = 8 << 20) -> dict[str, Finding]:
    findings = list(check_process(system, kind, limit))
    for finding in findings:
        assert finding.subject == "process"
        assert (finding.level == "ok") == (finding.why == "") == (finding.mend == "")
    return {finding.code: finding for finding in findings}


def test_a_system_without_weak_spots(builder: SystemBuilder) -> None:
    assert {code: finding.level for code, finding in found(builder.build()).items()} == {"key_memory": "ok"}


def test_the_memory_that_keys_get(builder: SystemBuilder) -> None:
    system = builder.build()
    assert found(system, "locked")["key_memory"].level == "note"
    ordinary = found(system, "ordinary", 64 * 1024)["key_memory"]
    assert (ordinary.level, "RLIMIT_MEMLOCK: 64 kB" in ordinary.found) == ("warning", True)
    assert "RLIMIT_MEMLOCK: no limit" in found(system, "ordinary", None)["key_memory"].found


def test_processes_that_may_read_each_other(builder: SystemBuilder) -> None:
    assert found(builder.build({"/proc/sys/kernel/yama/ptrace_scope": "0\n"}))["ptrace_scope"].level == "note"
    builder.root.joinpath("proc/sys/kernel/yama/ptrace_scope").unlink()
    assert "ptrace_scope" in found(System(builder.root)), "a kernel without Yama"


def test_core_dumps_that_are_handed_to_a_program(builder: SystemBuilder) -> None:
    pattern = "|/usr/share/apport/apport -p%p -s%s\n"
    finding = found(builder.build({"/proc/sys/kernel/core_pattern": pattern}))["core_dumps"]
    assert (finding.level, finding.found.endswith(": /usr/share/apport/apport")) == ("note", True)


@pytest.mark.parametrize(
    ("place", "files", "is_plain"),
    [
        ("/dev/sda2", {}, True),
        ("/swap.img", {}, True),
        ("/dev/dm-1", {}, True),
        ("/dev/dm-1", {"/sys/block/dm-1/dm/uuid": "LVM-x"}, True),
        ("/dev/dm-1", {"/sys/block/dm-1/dm/uuid": "CRYPT-PLAIN-swap"}, False),
        ("/dev/zram0", {}, False),
    ],
)
def test_swap(place: str, files: dict[str, str], is_plain: bool, builder: SystemBuilder) -> None:
    lines = f"{HEADING}{place}                               partition\t8388604\t0\t-2\n"
    findings = found(builder.build({**files, "/proc/swaps": lines}))
    assert ("swap" in findings) is is_plain
    if is_plain:
        assert (findings["swap"].level, place in findings["swap"].found) == ("note", True)


def test_variables_that_put_code_into_programs(builder: SystemBuilder) -> None:
    findings = found(builder.build(LD_PRELOAD="/usr/lib/faketime/libfaketime.so.1", PYTHONPATH="/srv/code"))
    assert (findings["preloaded"].level, findings["python_path"].level) == ("warning", "note")
    assert set(found(builder.build(LD_PRELOAD=" ", PYTHONPATH=""))) == {"key_memory"}
