from datetime import timedelta
from typing import Any

import pytest

from licensing.errors import LicenseMalformedError
from licensing.policy import DEFAULT_POLICY, MAX_POLICY_SECONDS, Policy, policy_claims, read_policy

EVERYTHING = Policy(grace=timedelta(days=14), step_back=timedelta(minutes=5), vgpu=True)


def test_defaults_are_not_written() -> None:
    assert policy_claims(DEFAULT_POLICY) == {}
    assert read_policy({}) == DEFAULT_POLICY
    assert Policy(grace=timedelta(0), step_back=timedelta(days=1), vgpu=False) == DEFAULT_POLICY


def test_what_is_written_reads_back() -> None:
    assert policy_claims(EVERYTHING) == {"grace": 14 * 86400, "step_back": 300, "vgpu": True}
    assert read_policy(policy_claims(EVERYTHING)) == EVERYTHING


def test_unknown_members_are_ignored() -> None:
    assert read_policy({"later": [1], "grace": 1}) == Policy(grace=timedelta(seconds=1))


@pytest.mark.parametrize("name", ["grace", "step_back"])
@pytest.mark.parametrize("value", [-1, MAX_POLICY_SECONDS + 1, True, "1", None, [], 1.0])
def test_seconds_out_of_bounds(name: str, value: Any) -> None:
    with pytest.raises(LicenseMalformedError, match=name):
        read_policy({name: value})


@pytest.mark.parametrize("value", [0, 1, "true", None, {}])
def test_vgpu_is_true_or_false(value: Any) -> None:
    with pytest.raises(LicenseMalformedError, match="vgpu"):
        read_policy({"vgpu": value})
