"""Our time states, checks and clock resets agree with the test vectors, which another implementation made."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from licensing.clock_check import check_clock
from licensing.clock_reset import read_clock_reset
from licensing.clock_witnesses import TpmClock
from licensing.device_key import SoftwareDeviceKey
from licensing.encoding import to_epoch
from licensing.errors import LicensingError
from licensing.license import License, LicenseFile, read_claims
from licensing.policy import Policy
from licensing.time_state import StateKey, TimeState, state_path, twin_path
from licensing.trust import TrustedKeys
from tests.clocked_box import StandInClock, TpmStandIn

VECTORS = Path(__file__).parents[1] / "vectors"

Vector = dict[str, Any]

CLOCK, KEYS, LICENSE = (
    json.loads((VECTORS / name).read_text(encoding="ascii")) for name in ("clock.json", "keys.json", "license.json")
)


def each(vectors: list[Vector]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"].replace(" ", "_")) for vector in vectors]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


@pytest.fixture(scope="module")
def device_key() -> SoftwareDeviceKey:
    private_key = load_pem_private_key(KEYS["device"]["pkcs8_pem"].encode(), None)
    assert isinstance(private_key, RSAPrivateKey)
    return SoftwareDeviceKey(private_key)


@pytest.mark.parametrize("vector", CLOCK["authentication_keys"])
def test_authentication_key(vector: Vector, device_key: SoftwareDeviceKey) -> None:
    assert device_key.authentication_key(vector["purpose"]).hex() == vector["key"]


@pytest.mark.parametrize("vector", each(CLOCK["states"]["good"]))
def test_time_state(vector: Vector, device_key: SoftwareDeviceKey) -> None:
    key, data = StateKey.of(device_key), vector["file"].encode()
    state, members = TimeState.parse(data, key), vector["state"]
    assert (state.highest, state.created, state.provisional) == (
        members["highest"],
        members["created"],
        members.get("provisional"),
    )
    assert (list(state.resets), list(state.reset_by)) == (members["resets"], members["reset_by"])
    assert state.to_bytes(key) == data


@pytest.mark.parametrize("vector", each(CLOCK["states"]["bad"]))
def test_bad_time_state(vector: Vector, device_key: SoftwareDeviceKey) -> None:
    with pytest.raises(LicensingError) as refused:
        TimeState.parse(vector["file"].encode(), StateKey.of(device_key))
    assert refused.value.reason == vector["reason"]


def claims_of(vector: Vector) -> License:
    """Returns the claims of some license, with what the check of the clock looks at as the vector has it."""
    claims = read_claims(LicenseFile.parse(LICENSE["good"][1]["file"].encode()))
    policy, end = Policy(step_back=timedelta(seconds=vector["step_back"])), moment(vector["now"] + 10**9)
    return replace(claims, issued=moment(vector["issued"]), expires=end, policy=policy)


@pytest.mark.parametrize("vector", each(CLOCK["checks"]))
def test_check_of_the_clock(
    vector: Vector, device_key: SoftwareDeviceKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTLOCK_STATE", str(tmp_path))
    state_path(tmp_path).write_text(vector["state"], encoding="ascii")
    if vector["twin"] is not None:
        twin_path(device_key.thumbprint).write_text(vector["twin"], encoding="ascii")
    tpm = vector["tpm"]
    reading = TpmClock(tpm["clock"], tpm["resets"], tpm["restarts"], tpm["safe"]) if tpm is not None else None
    key, clock = TpmStandIn(device_key, reading), StandInClock(moment(vector["now"]))

    def check() -> None:
        check_clock(tmp_path, key, claims_of(vector), vector["vendor_key"], clock.moment, clock)

    if "reason" in vector:
        with pytest.raises(LicensingError) as refused:
            check()
        assert refused.value.reason == vector["reason"]
        assert state_path(tmp_path).read_text() == vector["state"]
    else:
        check()
        assert state_path(tmp_path).read_text() == vector["file_afterwards"]


@pytest.mark.parametrize("vector", each(CLOCK["resets"]["good"]))
def test_clock_reset(vector: Vector) -> None:
    reset, claims = (
        read_clock_reset(vector["file"].encode(), TrustedKeys.parse(CLOCK["trust"].encode())),
        vector["claims"],
    )
    assert (reset.reset_id, reset.vendor, reset.device) == (claims["jti"], claims["iss"], claims["cnf"]["jkt"])
    assert (to_epoch(reset.issued), to_epoch(reset.expires)) == (claims["iat"], claims["exp"])


@pytest.mark.parametrize("vector", each(CLOCK["resets"]["bad"]))
def test_bad_clock_reset(vector: Vector) -> None:
    with pytest.raises(LicensingError) as refused:
        read_clock_reset(vector["file"].encode(), TrustedKeys.parse(CLOCK["trust"].encode()))
    assert refused.value.reason == vector["reason"]
