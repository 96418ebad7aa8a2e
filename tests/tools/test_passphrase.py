"""The passphrase of the vendor's home, from the environment and from the keyboard."""

from pathlib import Path

import pytest

from tests.command_line import here
from tests.story import Story, unchanged
from tests.terminal import on_terminal

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

VARIABLE = "WEIGHTLOCK_PASSPHRASE"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a vendor's home with a passphrase. Opening it takes half a second of work: tests do it sparingly."""
    home = tmp_path_factory.mktemp("protected") / "vendor"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "correct horse")
        facts = here("vendor", "init", "--name", "Löwe AI", "--home", home, "--json").done().facts
    assert facts["passphrase"] is True
    return home


def encrypt(story: Story, home: Path, output: Path) -> tuple[str | Path, ...]:
    return ("encrypt", story.plain, "-o", output, "--home", home)


def test_passphrase_from_the_environment(
    home: Path, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "correct horse")
    here(*encrypt(story, home, tmp_path / "net.locked")).done()
    here("decrypt", tmp_path / "net.locked", "-o", tmp_path / "net.onnx", "--home", home).done()
    assert (tmp_path / "net.onnx").read_bytes() == story.plain.read_bytes()


@pytest.mark.parametrize(
    ("given", "reason"), [(None, "passphrase_required"), ("", "passphrase_required"), ("wrong", "passphrase_wrong")]
)
def test_without_the_right_passphrase_nothing_is_encrypted_or_issued(
    given: str | None, reason: str, home: Path, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    output = tmp_path / "output"
    with unchanged(home), unchanged(tmp_path):
        here(*encrypt(story, home, output), "--json").refused(1, reason)
        here(*story.issue(output, "--days", "3"), "--home", home, "--json").refused(1, reason)


def test_records_are_listed_without_the_passphrase(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    here("models", "--home", home).done()
    here("licenses", "--home", home).done()


def test_passphrase_from_the_keyboard_is_not_shown(home: Path, story: Story, tmp_path: Path) -> None:
    code, shown = on_terminal(*encrypt(story, home, tmp_path / "net.locked"), typed=["correct horse"])
    assert code == 0
    assert "passphrase of the vendor's home: " in shown
    assert "correct" not in shown
    assert (tmp_path / "net.locked").exists()


def test_wrong_passphrase_from_the_keyboard_is_refused(home: Path, story: Story, tmp_path: Path) -> None:
    code, shown = on_terminal(*encrypt(story, home, tmp_path / "net.locked"), typed=["battery staple"])
    assert code == 1
    assert "weightlock: the passphrase" in shown
    assert list(tmp_path.iterdir()) == []


def test_new_passphrase_is_asked_for_twice(tmp_path: Path) -> None:
    arguments = ("vendor", "init", "--name", "Löwe AI", "--passphrase", "--home", tmp_path / "vendor")
    code, shown = on_terminal(*arguments, typed=["correct horse", "wrong horse"])
    assert code == 2
    assert "weightlock: the two passphrases differ" in shown
    assert list(tmp_path.iterdir()) == []
    code, shown = on_terminal(*arguments, typed=["correct horse", "correct horse"])
    assert code == 0
    assert "no passphrase protects it" not in shown
    here("models", "--home", tmp_path / "vendor").done()


def test_new_passphrase_without_a_keyboard_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    arguments = ("vendor", "init", "--name", "Löwe AI", "--passphrase", "--home", tmp_path / "vendor", "--json")
    here(*arguments).refused(1, "passphrase_required")
    assert list(tmp_path.iterdir()) == []
