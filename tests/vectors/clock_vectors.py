"""The vectors of docs/spec/license.md, sections 10.1 and 15.1 to 15.3: time states, the clock, clock resets."""

import hmac
from typing import Any

from tests.vectors import reference_license as reference
from tests.vectors.license_vectors import DEVICE, TRUST_FILE, VENDORS, spaced
from tests.vectors.reference_crypto import Ed25519Signer, RsaKey, Signer, b64, canonical, framed, hkdf, jws, thumbprint
from tests.vectors.reference_license import DAY, ISSUED

HOUR = 3600
THUMBPRINT = thumbprint(DEVICE.jwk())
VENDOR, OTHER_VENDOR = (thumbprint(VENDORS[name].jwk()) for name in ("EdDSA", "ES256"))
IDS = [reference.fixed_uuid(f"clock reset {number}") for number in range(3)]

Members = dict[str, Any]


def clock() -> Members:
    return {
        "trust": TRUST_FILE,
        "authentication_keys": [
            {"purpose": purpose, "key": authentication_key(DEVICE, purpose).hex()}
            for purpose in ("time-state", "", "№")
        ],
        "states": {"good": _good_states(), "bad": _bad_states()},
        "checks": [_check(name, **case) for name, case in _CASES.items()],
        "resets": {"good": _good_resets(), "bad": _bad_resets()},
    }


def authentication_key(device: RsaKey, purpose: str) -> bytes:
    """Section 10.1."""
    exponent = device.d.to_bytes((device.d.bit_length() + 7) // 8, "big")
    return hkdf(exponent, b"", framed(b"weightlock/1/device/authentication", purpose.encode()))


def state_members(**changes: Any) -> Members:
    """Section 15.1."""
    usual: Members = {
        "ver": 1,
        "device": THUMBPRINT,
        "created": ISSUED,
        "highest": ISSUED,
        "resets": [],
        "reset_by": [],
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def state_file(members: Any, device: RsaKey = DEVICE) -> str:
    mac = hmac.digest(authentication_key(device, "time-state"), canonical(members).encode(), "sha256")
    return canonical({"mac": b64(mac), "state": members})


def _good_states() -> list[Members]:
    everything = {
        "highest": ISSUED + DAY,
        "provisional": ISSUED + 400 * DAY,
        "resets": IDS,
        "reset_by": [VENDOR, OTHER_VENDOR],
        "tpm": _tpm(ISSUED, 2**53 - 1, 2**32 - 1, 0),
    }
    named = {"new": state_members(), "everything": state_members(**everything)}
    return [{"name": name, "file": state_file(members), "state": members} for name, members in named.items()]


def _bad_states() -> list[Members]:
    good = state_members()
    changes: dict[str, Members] = {
        "an unknown version": {"ver": 2},
        "an unknown member": {"later": 1},
        "no highest time": {"highest": None},
        "a time that is no date": {"highest": 253402300800},
        "a provisional time that is null and not absent": {"provisional": []},
        "an id twice": {"resets": [IDS[0], IDS[0]]},
        "a vendor twice": {"reset_by": [VENDOR, VENDOR]},
        "the thumbprint of another key": {"device": VENDOR},
        "a TPM's reading without a count": {"tpm": {"at": 1, "clock": 1, "resets": 1}},
    }
    named = {name: state_file(state_members(**change)) for name, change in changes.items()}
    named["another device key's authentication"] = state_file(good, RsaKey.fixed("another device key"))
    named["a changed time"] = state_file(good).replace(str(ISSUED), str(ISSUED + 1))
    named["whitespace at the end"] = state_file(good) + "\n"
    named["whitespace inside"] = spaced(state_file(good))
    named["another member outside"] = canonical({"mac": state_file(good)[8:51], "more": 1, "state": good})
    named["a shorter authentication"] = state_file(good).replace(state_file(good)[8:51], state_file(good)[8:48])
    return [{"name": name, "reason": "clock_state_invalid", "file": file} for name, file in named.items()]


def _tpm(at: int, clock_ms: int, resets: int = 5, restarts: int = 0) -> Members:
    return {"at": at, "clock": clock_ms, "resets": resets, "restarts": restarts}


def _reading(clock_ms: int, resets: int = 5, safe: bool = True) -> Members:
    return {"clock": clock_ms, "resets": resets, "restarts": 0, "safe": safe}


_AHEAD = ISSUED + 20 * DAY
_CASES: dict[str, Members] = {
    "half an hour later": {"now": HOUR // 2},
    "an hour later": {"now": HOUR},
    "behind by the step back": {"now": -DAY},
    "behind by a second more": {"now": -DAY - 1},
    "behind by a step back of nothing": {"now": -1, "step_back": 0},
    "a day later": {"now": DAY},
    "a second more, far ahead": {"now": DAY + 1},
    "far ahead already": {"now": 20 * DAY + 72 * HOUR - 1, "state": {"provisional": _AHEAD}},
    "far ahead and confirmed": {"now": 20 * DAY + 72 * HOUR, "state": {"provisional": _AHEAD}},
    "back from far ahead": {"now": HOUR, "state": {"provisional": _AHEAD}},
    "back part of the way": {"now": 10 * DAY, "state": {"provisional": _AHEAD}},
    "far ahead, a little behind the beginning": {"now": 19 * DAY, "state": {"provisional": _AHEAD}},
    "issued later than the highest time": {"now": 40 * DAY, "issued": ISSUED + 39 * DAY},
    "behind the time of issue": {"now": 37 * DAY, "issued": ISSUED + 39 * DAY},
    "far ahead of the time of issue": {"now": 80 * DAY, "issued": ISSUED + 39 * DAY},
    "a twin that is ahead by the step back": {"now": DAY, "twin": {"highest": ISSUED + DAY}},
    "a twin that is ahead by more": {"now": DAY, "twin": {"highest": ISSUED + DAY + 1}},
    "a twin that knows a clock reset": {"now": HOUR, "twin": {"resets": IDS[:1]}},
    "a twin ahead that does not know a clock reset": {
        "now": HOUR,
        "state": {"resets": IDS[:1]},
        "twin": {"highest": ISSUED + 90 * DAY},
    },
    "mended by this vendor among others": {"now": HOUR, "state": {"reset_by": [OTHER_VENDOR, VENDOR]}},
    "mended by another vendor": {"now": HOUR, "state": {"reset_by": [OTHER_VENDOR]}},
    "mended by another vendor, and behind": {"now": -9 * DAY, "state": {"reset_by": [OTHER_VENDOR]}},
    "the first reading of a TPM": {"now": 0, "tpm": _reading(1000)},
    "an unsafe reading": {"now": 0, "tpm": _reading(1000, safe=False)},
    "a TPM that has been powered for 36 hours": {
        "now": 0,
        "state": {"tpm": _tpm(ISSUED, 1000)},
        "tpm": _reading(1000 + 36 * HOUR * 1000),
    },
    "a TPM that has been powered for longer": {
        "now": 0,
        "state": {"tpm": _tpm(ISSUED, 1000)},
        "tpm": _reading(1000 + 36 * HOUR * 1000 + 1500),
    },
    "a TPM that was cleared": {
        "now": 0,
        "state": {"tpm": _tpm(ISSUED, 1000)},
        "tpm": _reading(90 * DAY * 1000, resets=4),
    },
    "a TPM whose clock is behind": {"now": HOUR, "state": {"tpm": _tpm(ISSUED, 9000)}, "tpm": _reading(1000)},
}


def _check(name: str, **case: Any) -> Members:
    """Section 15.2, steps 3 to 9, with the licenses of VENDOR."""
    now, issued, step_back = ISSUED + case["now"], case.get("issued", ISSUED), case.get("step_back", DAY)
    state = state_members(**case.get("state", {}))
    twin = state_members(**case["twin"]) if "twin" in case else None
    tpm = case.get("tpm")
    outcome = _outcome(state, twin, now, issued, step_back, tpm)
    return {
        "name": name,
        "vendor_key": VENDOR,
        "now": now,
        "issued": issued,
        "step_back": step_back,
        "state": state_file(state),
        "twin": state_file(twin) if twin is not None else None,
        "tpm": tpm,
        **({"reason": outcome} if isinstance(outcome, str) else {"file_afterwards": state_file(outcome)}),
    }


def _outcome(state: Members, twin: Members | None, now: int, issued: int, step_back: int, tpm: Any) -> Members | str:
    if state["reset_by"] and VENDOR not in state["reset_by"]:
        return "clock_state_invalid"
    if twin is not None:
        unknown = [jti for jti in twin["resets"] if jti not in state["resets"]]
        if unknown or (twin["resets"] == state["resets"] and twin["highest"] > state["highest"] + step_back):
            return "clock_state_replayed"
    usable, old = tpm is not None and tpm["safe"], state.get("tpm")
    passed = [state["highest"], issued]
    if usable and old and tpm["resets"] >= old["resets"] and tpm["clock"] > old["clock"]:
        passed.append(old["at"] + (tpm["clock"] - old["clock"]) * 2 // 3000)
    if now + step_back < max(passed):
        return "clock_rollback"
    after = {**state, "highest": max(passed)}
    believed = now <= max(passed) + DAY
    if not believed:
        began = state.get("provisional")
        after["provisional"] = now if began is None or now + step_back < began else began
        believed = now >= after["provisional"] + 259200
    if believed:
        after.pop("provisional", None)
        after["highest"] = max(*passed, now)
        if usable:
            after["tpm"] = _tpm(after["highest"], tpm["clock"], tpm["resets"], tpm["restarts"])
    changed = after.get("provisional") != state.get("provisional") or ("tpm" in after and "tpm" not in state)
    return after if changed or after["highest"] >= state["highest"] + HOUR else state


def reset_claims(**changes: Any) -> Members:
    """Section 15.3."""
    usual = {
        "ver": 1,
        "iss": "Löwe AI",
        "jti": IDS[0],
        "iat": ISSUED,
        "exp": ISSUED + 7 * DAY,
        "cnf": {"jkt": THUMBPRINT},
        "generator": "test vectors",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def reset_file(claims: Members, signer: Signer = VENDORS["EdDSA"], typ: str = "weightlock-clock-reset+jwt") -> str:
    return canonical({"clock_reset": jws(signer, typ, canonical(claims))})


def _good_resets() -> list[Members]:
    named: dict[str, tuple[Members, str]] = {}
    for name, signer in VENDORS.items():
        claims = reset_claims(iss=f"Löwe AI, {name}")
        named[name] = claims, reset_file(claims, signer)
    extended = reset_claims(later=[1], exp=ISSUED + 1)
    named["unknown claims, whitespace, one second"] = extended, spaced(reset_file(extended))
    return [{"name": name, "file": file, "claims": claims} for name, (claims, file) in named.items()]


def _bad_resets() -> list[Members]:
    changes: dict[str, Members] = {
        "an unknown version": {"ver": 2},
        "an end at its beginning": {"exp": ISSUED},
        "more than seven days": {"exp": ISSUED + 7 * DAY + 1},
        "no device key": {"cnf": {}},
        "an id that is no UUID": {"jti": "1"},
        "no generator": {"generator": None},
    }
    named = {name: ("clock_reset_malformed", reset_file(reset_claims(**each))) for name, each in changes.items()}
    good = reset_file(reset_claims())
    license_type = reset_file(reset_claims(), typ="weightlock-license+jwt")
    named["the type of a license"] = "clock_reset_malformed", license_type
    named["another member outside"] = "clock_reset_malformed", good.replace("{", '{"a":1,', 1)
    named["a license file's member"] = "clock_reset_malformed", good.replace("clock_reset", "license")
    named["a vendor who is not trusted"] = "untrusted_vendor", reset_file(reset_claims(), Ed25519Signer("a stranger"))
    header, payload = jws(VENDORS["EdDSA"], "weightlock-clock-reset+jwt", canonical(reset_claims())).split(".")[:2]
    other = jws(VENDORS["EdDSA"], "weightlock-clock-reset+jwt", canonical(reset_claims(jti=IDS[1]))).split(".")[2]
    mixed = canonical({"clock_reset": f"{header}.{payload}.{other}"})
    named["the signature of another reset"] = "signature_invalid", mixed
    return [{"name": name, "reason": reason, "file": file} for name, (reason, file) in named.items()]
