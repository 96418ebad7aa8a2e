"""The clock reset: a vendor's signed word that a box may begin its time state again.

docs/spec/license.md, section 15.3. It mends a time state that is lost, damaged, replaced by a backup, or far ahead
because a clock was wrong for too long.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from licensing.clock_check import certain_time, check_witnesses
from licensing.clock_witnesses import Clock
from licensing.directory_lock import locked_directory
from licensing.encoding import MAX_EPOCH, from_epoch, to_epoch
from licensing.errors import (
    ClockResetMalformedError,
    ClockResetUsedError,
    ClockStateInvalidError,
    ClockStateMissingError,
    DeviceKeyMismatchError,
    ExpiredError,
    NotYetValidError,
    UntrustedVendorError,
)
from licensing.jwk import THUMBPRINT_PATTERN
from licensing.jws import PrivateKey, SignedText, parse_signed, sign_claims, verify_signature
from licensing.local_time import local_text
from licensing.strict_json import Fields, canonical, parse_object
from licensing.time_state import (
    MAX_RESETS,
    MAX_VENDORS,
    UUID_PATTERN,
    Authenticator,
    StateKey,
    TimeState,
    TpmRecord,
    read_state,
    read_twin,
    twin_path,
    write_state,
)
from licensing.trust import TrustedKeys
from licensing.version import __version__

__all__ = ["MAX_RESET_BYTES", "RESET_VALID", "ClockReset", "apply_clock_reset", "make_clock_reset", "read_clock_reset"]

RESET_TYPE = "weightlock-clock-reset+jwt"
RESET_VERSION = 1
MAX_RESET_BYTES = 16 * 1024
RESET_VALID = timedelta(days=7)

CLOCK_ALLOWANCE = timedelta(hours=1)
"""How far the box's clock may be behind the vendor's."""

_WHAT = "clock reset"


@dataclass(frozen=True)
class ClockReset:
    """A clock reset whose signature has been verified.

    Attributes:
        reset_id: a UUID; each is applied once.
        vendor, vendor_key: who signed it, by name and by the thumbprint of the key.
        device: the thumbprint of the device key that it is for.
        issued, expires: from when until when it can be applied, in UTC.
    """

    reset_id: str
    vendor: str
    vendor_key: str
    device: str
    issued: datetime
    expires: datetime


def make_clock_reset(device_thumbprint: str, vendor: str, signing_key: PrivateKey, now: datetime) -> bytes:
    """Returns a clock reset file, which can be applied once in the next seven days.

    Args:
        device_thumbprint: the device key of the box, from its license request.
        vendor: the vendor's name.
        signing_key: the vendor's, the one that signed the licenses of the box.
        now: the time.
    """
    claims = {
        "ver": RESET_VERSION,
        "iss": vendor,
        "jti": str(uuid.uuid4()),
        "iat": to_epoch(now),
        "exp": to_epoch(now + RESET_VALID),
        "cnf": {"jkt": device_thumbprint},
        "generator": f"weightlock {__version__}",
    }
    return canonical({"clock_reset": sign_claims(claims, signing_key, RESET_TYPE)})


def read_clock_reset(data: bytes, trusted: TrustedKeys) -> ClockReset:
    """Parses a clock reset file and verifies its signature.

    Raises:
        ClockResetMalformedError: it does not follow the specification.
        UntrustedVendorError: a vendor signed it whom the trust file does not name.
        SignatureInvalidError: it was changed.
    """
    error = ClockResetMalformedError
    outer = Fields(parse_object(data, _WHAT, error, MAX_RESET_BYTES), _WHAT, error)
    if "clock_reset" not in outer:
        raise ClockResetMalformedError("the file is not a clock reset", "name the file that the vendor sent")
    outer.only("clock_reset")
    signed = parse_signed(outer.text("clock_reset", MAX_RESET_BYTES), RESET_TYPE, _WHAT, error)
    try:
        key = trusted.find(signed.kid)
    except UntrustedVendorError as cause:
        raise UntrustedVendorError(
            "the clock reset is signed by a vendor key that is not in the trust file",
            "check that the trust file is the one of the vendor who sent the clock reset",
        ) from cause
    verify_signature(signed, key, _WHAT)
    return _read_claims(signed)


def apply_clock_reset(
    home: Path, device_key: Authenticator, reset: ClockReset, now: datetime, clock: Clock
) -> TimeState:
    """Begins the time state of a customer's home again, at the present.

    Args:
        home: the customer's home.
        device_key: open.
        reset: verified.
        now: what the clock says. It must be right: the reset can only be applied while it is valid.
        clock: whose witnesses are asked.

    Raises:
        DeviceKeyMismatchError: the reset is for another box.
        NotYetValidError, ExpiredError: by this machine's clock, the reset is not valid.
        ClockFakedError: this process is shown another clock than the system's.
        ClockResetUsedError: it was applied before.
        ClockStateUnwritableError: the home cannot be written.
    """
    _check_reset(reset, device_key, now)
    twin = twin_path(device_key.thumbprint)
    check_witnesses(now, clock.witnesses((home, twin.parent)), 0)
    key, seconds = StateKey.of(device_key), to_epoch(now)
    reading = TpmRecord.of(seconds, device_key.clock())
    with locked_directory(home):
        copy, state = read_twin(twin, key), _state_if_usable(home, key)
        known = [each for each in (copy, state) if each is not None]
        used = list(dict.fromkeys(jti for each in known for jti in each.resets))
        if reset.reset_id in used:
            raise ClockResetUsedError("this clock reset has been applied before")
        highest = max(seconds, to_epoch(reset.issued))
        begun = TimeState(
            device=device_key.thumbprint,
            created=known[-1].created if known else seconds,
            highest=highest,
            resets=tuple([*used, reset.reset_id][-MAX_RESETS:]),
            reset_by=_reset_by(reset, state, copy, all(certain_time(each, reading) <= highest for each in known)),
            tpm=None if reading is None else replace(reading, at=highest),
        )
        write_state(home, twin, begun, key)
    return begun


def _check_reset(reset: ClockReset, device_key: Authenticator, now: datetime) -> None:
    if reset.device != device_key.thumbprint:
        raise DeviceKeyMismatchError(
            "the clock reset is for another device key",
            "send the vendor the license request of this box, made with the same home, and ask for a new clock reset",
        )
    if now < reset.issued - CLOCK_ALLOWANCE:
        raise NotYetValidError(
            f"the clock reset was made at {local_text(reset.issued)}, and the clock of this machine says "
            f"{local_text(now)}",
            "set the clock of this machine right first, and apply the clock reset then",
        )
    if now >= reset.expires:
        raise ExpiredError(
            f"the clock reset could be applied until {local_text(reset.expires)}, and the clock of this machine says "
            f"{local_text(now)}",
            "if the clock is wrong, set it right first; if it is right, ask the vendor for a new clock reset",
        )


def _reset_by(
    reset: ClockReset, state: TimeState | None, copy: TimeState | None, nothing_lowered: bool
) -> tuple[str, ...]:
    """Returns the vendor keys whose licenses may rely on the time state that a reset begins.

    Whoever holds the home chooses the trust file, and can be a vendor of their own: what one vendor forgives counts
    for that vendor alone.
    """
    whole = state is not None and nothing_lowered and (copy is None or not set(copy.resets) - set(state.resets))
    if state is None or not whole:
        return (reset.vendor_key,)
    if not state.reset_by:
        return ()
    return tuple(dict.fromkeys([*state.reset_by, reset.vendor_key]))[-MAX_VENDORS:]


def _state_if_usable(home: Path, key: StateKey) -> TimeState | None:
    try:
        return read_state(home, key)
    except (ClockStateMissingError, ClockStateInvalidError):
        return None


def _read_claims(signed: SignedText) -> ClockReset:
    fields = Fields(signed.claims(_WHAT, ClockResetMalformedError), _WHAT, ClockResetMalformedError)
    if fields.integer("ver") != RESET_VERSION:
        raise ClockResetMalformedError("the clock reset has an unknown version", "install a newer weightlock")
    issued, expires = fields.integer("iat", 0, MAX_EPOCH), fields.integer("exp", 0, MAX_EPOCH)
    if not issued < expires <= issued + RESET_VALID.total_seconds():
        fields.fail("exp", "within seven days after 'iat'")
    fields.text("generator")
    return ClockReset(
        reset_id=fields.text("jti", 36, UUID_PATTERN),
        vendor=fields.text("iss"),
        vendor_key=signed.kid,
        device=fields.nested("cnf").text("jkt", 43, THUMBPRINT_PATTERN),
        issued=from_epoch(issued),
        expires=from_epoch(expires),
    )
