"""The machine ID: what is accepted, from where, and what leaves the box in its place."""

import re
from collections.abc import Callable
from pathlib import Path

import machineid
import pytest

from licensing.errors import MachineIdUnavailableError
from licensing.machine import FINGERPRINT_PATTERN, STABLE_SOURCES, Machine, read_machine

MACHINE_ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "fedcba9876543210fedcba9876543210"


def probe(machine_id: str) -> Callable[[], str]:
    return lambda: machine_id


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Returns a file that holds the machine ID as systemd writes it, with a line break."""
    path = tmp_path / "machine-id"
    path.write_text(f"{MACHINE_ID}\n")
    return path


# What the probe says.


def test_machine_id_and_its_source(source: Path) -> None:
    machine = read_machine(probe(MACHINE_ID), (str(source),))
    assert (machine.machine_id, machine.source) == (MACHINE_ID, str(source))


@pytest.mark.parametrize(
    "machine_id",
    [
        "",
        "uninitialized",
        MACHINE_ID.upper(),
        MACHINE_ID[:-1],
        MACHINE_ID + "0",
        MACHINE_ID + "\n",
        " " + MACHINE_ID,
        MACHINE_ID[:-1] + "g",
        MACHINE_ID[:-1] + "\N{FULLWIDTH DIGIT ONE}",
        "01234567-89ab-cdef-0123-456789abcdef",
        "0" * 32,
    ],
)
def test_what_is_no_machine_id_is_refused(machine_id: str, tmp_path: Path) -> None:
    """Even where a file holds exactly that text, as /etc/machine-id does before the first boot is complete."""
    source = tmp_path / "machine-id"
    source.write_text(machine_id, encoding="utf-8")
    with pytest.raises(MachineIdUnavailableError, match="not 32 hexadecimal digits"):
        read_machine(probe(machine_id), (str(source),))


@pytest.mark.parametrize(
    "failure",
    [
        machineid.MachineIdNotFound("failed to obtain id on platform linux"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        PermissionError(13, "Permission denied"),
    ],
)
def test_failing_probe_is_refused_with_its_cause(failure: Exception, source: Path) -> None:
    def fail() -> str:
        raise failure

    with pytest.raises(MachineIdUnavailableError, match="no machine ID") as refusal:
        read_machine(fail, (str(source),))
    assert refusal.value.__cause__ is failure


def test_refusal_says_what_to_do() -> None:
    """Containers have no machine ID of their own: the commonest lock-out, and one mount ends it."""
    with pytest.raises(MachineIdUnavailableError) as refusal:
        read_machine(probe("uninitialized"))
    assert refusal.value.reason == "machine_id_unavailable"
    assert any("/etc/machine-id read-only" in hint for hint in refusal.value.hints)


# Where it was read.

UNSTABLE = "changes between runs"


def test_id_that_no_source_holds_is_refused(source: Path) -> None:
    """A container ID looks like a machine ID, and is another on the next run."""
    with pytest.raises(MachineIdUnavailableError, match=UNSTABLE):
        read_machine(probe(OTHER_ID), (str(source),))


def test_id_without_any_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineIdUnavailableError, match=UNSTABLE):
        read_machine(probe(MACHINE_ID), (str(tmp_path / "missing"),))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe" * 16, OTHER_ID.encode(), MACHINE_ID.encode("utf-16")])
def test_source_that_does_not_hold_the_id_is_passed_over(content: bytes, source: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_bytes(content)
    assert read_machine(probe(MACHINE_ID), (str(first), str(source))).source == str(source)
    with pytest.raises(MachineIdUnavailableError, match=UNSTABLE):
        read_machine(probe(MACHINE_ID), (str(first),))


def test_unreadable_source_is_passed_over(source: Path, tmp_path: Path) -> None:
    """A directory in the file's place cannot be read by any user, root included."""
    folder = tmp_path / "folder"
    folder.mkdir()
    assert read_machine(probe(MACHINE_ID), (str(folder), str(source))).source == str(source)
    with pytest.raises(MachineIdUnavailableError, match=UNSTABLE):
        read_machine(probe(MACHINE_ID), (str(folder),))


def test_first_source_that_holds_the_id_is_named(source: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text(MACHINE_ID)
    assert read_machine(probe(MACHINE_ID), (str(first), str(source))).source == str(first)


def test_this_machine() -> None:
    """The default probe and sources: the first file that says anything decides, and without one there is no ID."""
    texts = {path: Path(path).read_text().strip() for path in STABLE_SOURCES if Path(path).is_file()}
    recorded = next(filter(None, texts.values()), "")
    if re.fullmatch("[0-9a-f]{32}", recorded) and set(recorded) != {"0"}:
        machine = read_machine()
        assert (machine.machine_id, texts[machine.source]) == (recorded, recorded)
    else:
        with pytest.raises(MachineIdUnavailableError):
            read_machine()


# What leaves the box.


def test_machine_id_stays_out_of_repr() -> None:
    """It reaches no log and no traceback, as machine-id(5) asks."""
    machine = Machine(MACHINE_ID, "/etc/machine-id")
    assert MACHINE_ID not in repr(machine)
    assert MACHINE_ID not in str(machine)
    assert "/etc/machine-id" in repr(machine)


def test_known_answers() -> None:
    """Every license and device key depends on these values.

    Origin: printf %s weightlock/1/machine/PURPOSE | openssl dgst -sha256 -mac hmac -macopt key:MACHINE_ID
    """
    machine = Machine(MACHINE_ID, "/etc/machine-id")
    assert machine.fingerprint == "ac95a6a6178061779fb6719934bb13af1fcb033eecbf963879d660c583fa7a18"
    assert machine.derive("device-key").hex() == "b84090b0e5b98e018aae9ca04550283f94eb8a6b922628d88f565d2ccbfb6ffa"


def test_fingerprint_has_the_form_that_licenses_accept() -> None:
    assert re.fullmatch(FINGERPRINT_PATTERN, Machine(MACHINE_ID, "/etc/machine-id").fingerprint)


def test_fingerprint_depends_on_the_machine_and_not_on_the_source() -> None:
    """A box keeps its license when D-Bus is installed, and its ID is found in another file first."""
    fingerprint = Machine(MACHINE_ID, "/etc/machine-id").fingerprint
    assert Machine(MACHINE_ID, "/var/lib/dbus/machine-id").fingerprint == fingerprint
    assert Machine(OTHER_ID, "/etc/machine-id").fingerprint != fingerprint


def test_purposes_have_values_of_their_own() -> None:
    machine = Machine(MACHINE_ID, "/etc/machine-id")
    assert machine.derive("fingerprint") != machine.derive("device-key")
