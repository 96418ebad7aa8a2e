"""The conditions of use that a license's `policy` states. docs/spec/license.md, section 12.1.

They are checks in software, as the dates are: a patched client can ignore them. What binds is the key derivation.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from licensing.errors import LicenseMalformedError
from licensing.strict_json import Fields

__all__ = ["DEFAULT_POLICY", "MAX_POLICY_SECONDS", "Policy", "policy_claims", "read_policy"]

MAX_POLICY_SECONDS = 366 * 86400


@dataclass(frozen=True)
class Policy:
    """Conditions of use, with the defaults that hold where a license says nothing.

    Attributes:
        grace: for how long after its end the license still unlocks, with a warning.
        step_back: how far the clock may go back behind the highest time seen.
        vgpu: whether a virtual GPU, whose UUID its host chooses, may fill a slot.
    """

    grace: timedelta = timedelta(0)
    step_back: timedelta = timedelta(hours=24)
    vgpu: bool = False


DEFAULT_POLICY = Policy()


def read_policy(members: dict[str, Any]) -> Policy:
    """Reads the policy of a license; members that this version does not know are ignored.

    Raises:
        LicenseMalformedError: a member has another type, or is out of bounds.
    """
    fields = Fields(members, "license, policy", LicenseMalformedError)
    return Policy(
        grace=_seconds(fields, "grace", DEFAULT_POLICY.grace),
        step_back=_seconds(fields, "step_back", DEFAULT_POLICY.step_back),
        vgpu=fields.boolean("vgpu") if "vgpu" in fields else DEFAULT_POLICY.vgpu,
    )


def policy_claims(policy: Policy) -> dict[str, Any]:
    """Returns the members of a policy that differ from the defaults."""
    claims: dict[str, Any] = {}
    if policy.grace != DEFAULT_POLICY.grace:
        claims["grace"] = int(policy.grace.total_seconds())
    if policy.step_back != DEFAULT_POLICY.step_back:
        claims["step_back"] = int(policy.step_back.total_seconds())
    if policy.vgpu != DEFAULT_POLICY.vgpu:
        claims["vgpu"] = policy.vgpu
    return claims


def _seconds(fields: Fields, name: str, default: timedelta) -> timedelta:
    return timedelta(seconds=fields.integer(name, 0, MAX_POLICY_SECONDS)) if name in fields else default
