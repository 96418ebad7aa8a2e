"""Where the homes and the trust file are: an argument, a variable, or a directory of the user."""

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from licensing.homes import customer_home, state_directory, trust_path, vendor_home

HOMES = [(customer_home, "WEIGHTLOCK_HOME", "customer"), (vendor_home, "WEIGHTLOCK_VENDOR_HOME", "vendor")]

Find = Callable[..., Path]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, variable, _ in HOMES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.mark.parametrize(("find", "variable", "name"), HOMES)
def test_the_argument_comes_first_then_the_variable_then_the_users_directory(
    find: Find, variable: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find() == tmp_path / "weightlock" / name
    monkeypatch.setenv(variable, "/srv/weightlock")
    assert find() == Path("/srv/weightlock")
    assert find("/elsewhere") == find(Path("/elsewhere")) == Path("/elsewhere")


@pytest.mark.parametrize(("find", "variable", "name"), HOMES)
def test_an_empty_variable_counts_as_none(
    find: Find, variable: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    assert find() == tmp_path / "weightlock" / name


def test_the_vendors_variable_does_not_move_the_customers_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTLOCK_VENDOR_HOME", "/srv/vendor")
    assert customer_home() == tmp_path / "weightlock" / "customer"


def test_looking_for_a_home_makes_nothing(tmp_path: Path) -> None:
    customer_home()
    vendor_home()
    assert list(tmp_path.iterdir()) == []


def test_the_trust_file_is_in_the_home_and_never_beside_a_license(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trust.jwks").write_bytes(b"planted beside the license")
    monkeypatch.chdir(tmp_path)
    assert trust_path(None, Path("/home/of/acme")) == Path("/home/of/acme/trust.jwks")
    assert trust_path("vendor.jwks", Path("/home/of/acme")) == Path("vendor.jwks")


def test_twins_lie_in_the_users_state_directory_or_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is written out, because importing platformdirs takes long; it must stay that of platformdirs."""
    monkeypatch.setenv("WEIGHTLOCK_STATE", "/srv/state")
    assert state_directory() == Path("/srv/state")
    monkeypatch.setenv("WEIGHTLOCK_STATE", "")
    for base in ("", "  ", str(tmp_path)):
        monkeypatch.setenv("XDG_STATE_HOME", base)
        assert state_directory() == Path(platformdirs.user_state_dir("weightlock"))
    assert state_directory() == tmp_path / "weightlock"
