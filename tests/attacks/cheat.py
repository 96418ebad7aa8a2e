"""The attacker's own program: it follows the specification and checks nothing.

It verifies no signature, compares no date, machine, GPU or thumbprint, reads what no strict parser would, and tries
every combination of what it has: each device key that opens, each machine and GPU that it can pretend, each slot, each
grant. What it does not derive, no patched version of ours derives either. docs/spec/license.md, sections 7 to 9.
"""

import base64
import binascii
import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from licensing.device_key import DeviceKey, open_device_key, tpm_device_key_path
from licensing.errors import LicensingError
from licensing.key_derivation import derive_kek, hardware_salt, unwrap_grant
from licensing.machine import Machine
from licensing.tpm_device_key import open_tpm_device_key

__all__ = ["Loot", "derived_without_checks"]


@dataclass(frozen=True)
class Loot:
    """What an attacker has.

    Attributes:
        licenses: license files, as they are or edited.
        homes: copies of customers' homes.
        machines: machine IDs that the attacker knows.
        gpus: identities of GPUs that the attacker knows or measures; a program can pretend those on paper.
        tcti: the TPM of the attacker's machine; by default, each home's own, as only its machine has it.
        keys: device keys that are open.
    """

    licenses: tuple[bytes, ...]
    homes: tuple[Path, ...] = ()
    machines: tuple[Machine, ...] = ()
    gpus: tuple[str, ...] = ()
    tcti: str | None = None
    keys: tuple[DeviceKey, ...] = field(default=(), repr=False)


def derived_without_checks(loot: Loot, model_id: str, key_id: str) -> bytes | None:
    """Returns the content key of a model, if any combination of the loot leads to it."""
    for license in loot.licenses:
        text, payload, grants = _taken_apart(license)
        named = [*grants, *_objects(payload.get("slots"))]
        slots = {str(each.get("slot", each.get("id"))) for each in named}
        models = {str(each.get("model")) for each in grants} | {model_id}
        salts = [hardware_salt(machine.fingerprint, gpu) for machine in loot.machines for gpu in ("", *loot.gpus)]
        wrapped_keys = [_bytes(each.get("key")) for each in grants]
        for secret in _secrets(_bytes(payload.get("secret")), loot):
            for model, slot, salt in itertools.product(models, slots, salts):
                kek = derive_kek(secret, salt, text, model, key_id, slot)
                for wrapped in wrapped_keys:
                    with contextlib.suppress(LicensingError, ValueError):
                        return unwrap_grant(kek, wrapped, key_id)
    return None


def _taken_apart(license: bytes) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Returns the text of a license, its payload and its grants; empty ones where there are none."""
    outer = _object(license)
    text = str(outer.get("license", ""))
    parts = text.split(".")
    payload = _object(_bytes(parts[1])) if len(parts) > 1 else {}
    return text, payload, _objects(outer.get("grants"))


def _object(data: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        if isinstance(value, dict):
            return value
    return {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _bytes(text: Any) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.urlsafe_b64decode(str(text) + "===")
    return b""


def _secrets(wrapped: bytes, loot: Loot) -> Iterator[bytes]:
    for key in _device_keys(loot):
        with contextlib.suppress(LicensingError):
            yield key.unwrap_secret(wrapped)


def _device_keys(loot: Loot) -> Iterator[DeviceKey]:
    yield from loot.keys
    for home in loot.homes:
        if tpm_device_key_path(home).exists():
            with contextlib.suppress(LicensingError):
                yield open_tpm_device_key(tpm_device_key_path(home), loot.tcti)
            continue
        for machine in loot.machines:
            with contextlib.suppress(LicensingError):
                yield open_device_key(home, machine)
