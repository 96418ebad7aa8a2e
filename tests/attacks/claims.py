"""Editing each claim of a license, with the old signature and signed anew under a trust file of the attacker's."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from licensing.device_key import create_device_key, wrap_secret
from licensing.encoding import b64url_encode
from licensing.key_derivation import slot_digest
from licensing.license import UNDERSTOOD_CLAIMS
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import OTHER_GPU, OTHER_MACHINE, CustomerBox
from tests.attacks.scene import AttackScene
from tests.lock_attacks import claims_of, grants_of, with_grants
from tests.lock_scene import signed_again

__all__ = ["EDITS", "far_end"]


@dataclass(frozen=True)
class Edited:
    """What an attacker made, and where it is used: by default for the licensed model on the licensed box."""

    claims: dict[str, Any]
    box: CustomerBox
    other_model: bool = False


def far_end() -> int:
    """Returns a time in ten years, to which licenses are to be extended."""
    return int((datetime.now(timezone.utc) + timedelta(days=3650)).timestamp())


def _own_box(scene: AttackScene) -> CustomerBox:
    """Returns a box with the licensed hardware and a device key that the attacker made."""
    home = scene.new_folder("own-home")
    key = create_device_key(home, scene.box.hardware.machine)
    return replace(scene.box, home=home, device_key=key, tpm=None)


def _other_slots(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    box = replace(scene.rival, home=scene.copied_home("moved-home"))
    salt = bytes(16)
    slot = {
        **claims["slots"][0],
        "machine": {
            "label": "moved",
            "digest": b64url_encode(slot_digest(salt, "machine", OTHER_MACHINE.fingerprint)),
        },
        "gpu": {"label": "moved", "digest": b64url_encode(slot_digest(salt, "gpu", OTHER_GPU.identity))},
    }
    return Edited({"slots": [slot], "salt": b64url_encode(salt)}, box)


def _no_gpu(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    (slot,) = claims["slots"]
    return Edited({"slots": [{name: slot[name] for name in ("id", "machine")}]}, scene.box.with_gpus())


def _own_key(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    box = _own_box(scene)
    return Edited({"cnf": {"jkt": box.device_key.thumbprint}, "tier": "software"}, box)


def _own_secret(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    edited = _own_key(scene, claims)
    secret = wrap_secret(edited.box.device_key.public_key, bytes(32))
    return replace(edited, claims={**edited.claims, "secret": b64url_encode(secret)})


def _other_model(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    header = scene.headers[scene.other_model]
    wanted = {"id": header.model_id, "kid": header.key_id, "name": header.name}
    return Edited({"models": [*claims["models"], wanted]}, scene.box, other_model=True)


def _set(**values: Any) -> Callable[[AttackScene, dict[str, Any]], Edited]:
    return lambda scene, claims: Edited(values, scene.box)


def _later(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    return Edited({"exp": far_end()}, scene.box)


def _other_tier(scene: AttackScene, claims: dict[str, Any]) -> Edited:
    return Edited({"tier": "tpm" if claims["tier"] == "software" else "software"}, scene.box)


EDITS: dict[str, tuple[str, Callable[[AttackScene, dict[str, Any]], Edited]]] = {
    "ver": ("the version, to be read by other rules", _set(ver=2)),
    "iss": ("the vendor's name", _set(iss="Somebody else")),
    "sub": ("the customer's name", _set(sub="Somebody else")),
    "jti": ("the license's id, to be another than the vendor calls back", _set(jti=str(uuid.UUID(int=1)))),
    "iat": ("the time of issue", _set(iat=1)),
    "nbf": ("the beginning", _set(nbf=1)),
    "exp": ("the end, to ten years from now", _later),
    "cnf": ("the device key, to one of the attacker's", _own_key),
    "tier": ("the tier, to the other one", _other_tier),
    "salt": ("the salt of the digests", _set(salt=b64url_encode(bytes(16)))),
    "slots": ("the machine and the GPU, to those of another box with a copied home", _other_slots),
    "slots-gpu": ("the GPU away, for a machine without one", _no_gpu),
    "models": ("the models, to have another one as well", _other_model),
    "features": ("the features, to have more", _set(features=["everything"])),
    "policy": ("the policy: a year of grace, virtual GPUs, any step back", _set(
        policy={"grace": 31622400, "step_back": 31622400, "vgpu": True})),
    "secret": ("the secret, to one of the attacker's for a device key of theirs", _own_secret),
    "generator": ("what made the license", _set(generator="somebody")),
    "crit": ("what a reader must understand", _set(crit=["exp"])),
}  # fmt: skip
"""By claim: what is changed, for people, and how."""

assert {name.partition("-")[0] for name in EDITS} == {*UNDERSTOOD_CLAIMS, "crit"}, "a claim has no attack"


def _tried(scene: AttackScene, edit: Callable[[AttackScene, dict[str, Any]], Edited]) -> Outcome:
    edited = edit(scene, claims_of(scene.license))
    signing_key = scene.stranger._signing_key
    files = [signed_again(scene.license, key, **edited.claims) for key in (None, signing_key)]
    if edited.other_model:
        (grant,) = grants_of(scene.license)
        other = {**grant, "model": scene.headers[scene.other_model].model_id}
        files = [with_grants(file, grant, other) for file in files]
    model = scene.other_model if edited.other_model else scene.model
    foreign = edited.box.hardware.machine == OTHER_MACHINE
    kept, anew = files
    reasons = (
        scene.refusal(kept, box=edited.box, model=model, foreign=foreign),
        scene.refusal(anew, box=edited.box, model=model, foreign=foreign, trust=scene.stranger.trust_path),
    )
    homes = tuple(dict.fromkeys((scene.box.home, edited.box.home)))
    loot = scene.everything(*files, homes=homes)
    both = None if None in reasons else f"{reasons[0]}; signed anew by the attacker, {reasons[1]}"
    return scene.locked_out(both, loot, "the edited license", model=model)


def _register(claim: str, what: str, edit: Callable[[AttackScene, dict[str, Any]], Edited]) -> None:
    @attack("claims", Power.SAME_USER, f"edit {what}", both=StoppedBy.CRYPTOGRAPHY, name=f"edit-{claim}")
    def run(scene: AttackScene) -> Outcome:
        return _tried(scene, edit)


for _claim, (_what, _edit) in EDITS.items():
    _register(_claim, _what, _edit)
