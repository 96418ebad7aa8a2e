"""The registry file: its transactions, what it refuses, and what a vendor reads when the disk or the file fails."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from licensing import registry as registry_module
from licensing.errors import LicensingError, OutputExistsError, RegistryError, StorageError
from licensing.registry import Registry
from licensing.registry_tables import CustomerRow, DeviceRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Registry.create(tmp_path / "registry.db")
    return tmp_path / "registry.db"


def add_customer(registry: Registry, name: str) -> None:
    with registry.write() as session:
        session.add(CustomerRow(name=name))


def customers(registry: Registry) -> list[str]:
    with registry.read() as session:
        return sorted(session.scalars(text("SELECT name FROM customers")))


def test_what_was_committed_is_there_when_the_file_is_opened_again(path: Path) -> None:
    add_customer(Registry.open(path), "Acme")
    assert customers(Registry.open(path)) == ["Acme"]


def test_its_owner_alone_can_read_the_file_and_its_journal(path: Path) -> None:
    with Registry.open(path).write() as session:
        session.add(CustomerRow(name="Acme"))
        session.flush()
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
    assert modes == {"registry.db": 0o600, "registry.db-journal": 0o600}


def test_a_failed_transaction_leaves_nothing(path: Path) -> None:
    registry = Registry.open(path)

    def fail() -> None:
        with registry.write() as session:
            session.add(CustomerRow(name="Acme"))
            session.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert customers(registry) == []


def test_a_writer_holds_the_lock_from_its_beginning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    registry = Registry.open(path)
    with registry.write():
        with pytest.raises(RegistryError) as refusal:
            add_customer(Registry.open(path), "Acme")
        assert customers(registry) == []
    assert refusal.value.reason == "registry_busy"
    add_customer(registry, "Acme")


def test_a_reader_sees_one_state_throughout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "BUSY_TIMEOUT_SECONDS", 0.05)
    registry = Registry.open(path)
    with registry.read() as session:
        assert session.scalars(text("SELECT name FROM customers")).all() == []
        with pytest.raises(RegistryError, match="in use"):
            add_customer(registry, "Acme")
        assert session.scalars(text("SELECT name FROM customers")).all() == []


def duplicate(session: Session) -> None:
    session.add_all([CustomerRow(name="Acme"), CustomerRow(name="Acme")])


def nameless(session: Session) -> None:
    session.add(CustomerRow())


def orphan(session: Session) -> None:
    session.add(DeviceRow(thumbprint="A", customer_id=7, tier="software", machine_label="box"))


@pytest.mark.parametrize("mistake", [duplicate, nameless, orphan])
def test_records_that_contradict_each_other_are_refused(path: Path, mistake: object) -> None:
    registry = Registry.open(path)
    assert callable(mistake)
    with pytest.raises(RegistryError) as refusal, registry.write() as session:
        mistake(session)
    assert refusal.value.reason == "registry_conflict"
    with registry.read() as session:
        assert session.scalar(text("SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM devices)")) == 0


def test_a_newer_registry_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(RegistryError) as refusal:
        Registry.open(path)
    assert refusal.value.reason == "registry_too_new"
    assert refusal.value.hints == ("install a newer weightlock",)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_registry_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "registry.db").write_bytes(content)
    with pytest.raises(RegistryError) as refusal:
        Registry.open(tmp_path / "registry.db")
    assert refusal.value.reason == "registry_damaged"
    assert "backup" in refusal.value.hints[0]


def test_damage_inside_the_file_is_reported(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    with pytest.raises(RegistryError) as refusal:
        add_customer(Registry.open(path), "Acme")
    assert refusal.value.reason == "registry_damaged"


def test_a_lost_registry_is_reported_and_not_made_anew(path: Path) -> None:
    registry = Registry.open(path)
    path.unlink()
    with pytest.raises(RegistryError) as refusal:
        Registry.open(path)
    assert refusal.value.reason == "registry_damaged"
    with pytest.raises(LicensingError):
        add_customer(registry, "Acme")
    assert not path.exists()


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    add_customer(Registry.open(path), "Acme")
    with pytest.raises(OutputExistsError):
        Registry.create(path)
    assert customers(Registry.open(path)) == ["Acme"]


def test_a_full_disk_is_called_so_and_nothing_is_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Registry._connect

    def connect_without_room(self: Registry) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA max_page_count = 1")  # SQLite makes that the number of pages there are.
        return connection

    monkeypatch.setattr(Registry, "_connect", connect_without_room)
    with pytest.raises(StorageError) as refusal:
        add_customer(Registry.open(path), "A" * 100_000)
    assert refusal.value.reason == "storage_full"
    assert "no space left" in refusal.value.message
    monkeypatch.undo()
    assert customers(Registry.open(path)) == []


def test_a_file_system_that_refuses_is_called_so(path: Path) -> None:
    registry = Registry.open(path)
    (path.parent / "registry.db-journal").mkdir()
    with pytest.raises(StorageError) as refusal:
        add_customer(registry, "Acme")
    assert refusal.value.reason == "storage_failed"


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "100%41", "with space", "Löwe", "it's"])
def test_any_directory_name_works(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    add_customer(Registry.create(tmp_path / name / "registry.db"), "Acme")
    assert [entry.name for entry in (tmp_path / name).iterdir()] == ["registry.db"]
    assert customers(Registry.open(tmp_path / name / "registry.db")) == ["Acme"]


def test_a_relative_path_means_the_same_file_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    registry = Registry.open(Path("registry.db"))
    monkeypatch.chdir("/")
    add_customer(registry, "Acme")
    assert customers(Registry.open(path)) == ["Acme"]


def test_errors_do_not_show_the_values_of_statements(path: Path) -> None:
    with pytest.raises(RegistryError) as refusal, Registry.open(path).write() as session:
        session.add_all([CustomerRow(name="confidential"), CustomerRow(name="confidential")])
    assert "confidential" not in f"{refusal.value} {refusal.value.__cause__}"


def test_customers_do_not_load_the_database_library() -> None:
    program = "import sys, licensing, licensing.unlock; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
