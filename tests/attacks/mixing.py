"""Mixing what belongs to several licenses, models, customers and vendors.

Grants are not signed: each of them is bound to its license by the derivation alone, and no check could find these.
"""

import json
from datetime import datetime, timedelta, timezone

from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.scene import AttackScene
from tests.lock_attacks import grants_of, with_grants
from tests.lock_scene import signed_again

__all__: list[str] = []


def _tried(scene: AttackScene, license: bytes, what: str, *, other_model: bool = False) -> Outcome:
    model = scene.other_model if other_model else scene.model
    return scene.locked_out(scene.refusal(license, model=model), scene.everything(license), what, model=model)


@attack(
    "mixing",
    Power.SAME_USER,
    "put the grant of a license that has ended into one that holds",
    both=StoppedBy.CRYPTOGRAPHY,
)
def grant_of_another_license(scene: AttackScene) -> Outcome:
    past = datetime.now(timezone.utc) - timedelta(days=40)
    ended = scene.issue(scene.other_model, now=past, expires=past + timedelta(days=30))
    (grant,), (own,) = grants_of(ended), grants_of(scene.license)
    file = with_grants(_naming_the_other_model(scene), own, grant)
    reason = scene.refusal(file, model=scene.other_model, trust=scene.stranger.trust_path)
    return scene.locked_out(reason, scene.everything(file), "the mixed license", model=scene.other_model)


def _naming_the_other_model(scene: AttackScene) -> bytes:
    headers = [scene.headers[model] for model in (scene.model, scene.other_model)]
    models = [{"id": each.model_id, "kid": each.key_id, "name": each.name} for each in headers]
    return signed_again(scene.license, scene.stranger._signing_key, models=models)


@attack("mixing", Power.SAME_USER, "put another customer's grant into one's own license", both=StoppedBy.CRYPTOGRAPHY)
def grant_of_another_customer(scene: AttackScene) -> Outcome:
    (own,), (theirs,) = grants_of(scene.license), grants_of(scene.rival_license)
    file = with_grants(_naming_the_other_model(scene), own, theirs)
    reason = scene.refusal(file, model=scene.other_model, trust=scene.stranger.trust_path)
    return scene.locked_out(reason, scene.everything(file), "the mixed license", model=scene.other_model)


@attack("mixing", Power.SAME_USER, "use another customer's license and grants as they are", both=StoppedBy.CRYPTOGRAPHY)
def license_of_another_customer(scene: AttackScene) -> Outcome:
    reason = scene.refusal(scene.rival_license, model=scene.other_model)
    loot = scene.everything(scene.rival_license)
    return scene.locked_out(reason, loot, "another customer's license", model=scene.other_model)


@attack("mixing", Power.SAME_USER, "use a model's grant for a model that is not licensed", both=StoppedBy.CRYPTOGRAPHY)
def grant_of_one_model_for_another(scene: AttackScene) -> Outcome:
    (own,) = grants_of(scene.license)
    file = with_grants(_naming_the_other_model(scene), own, {**own, "model": scene.headers[scene.other_model].model_id})
    reason = scene.refusal(file, model=scene.other_model, trust=scene.stranger.trust_path)
    return scene.locked_out(reason, scene.everything(file), "the mixed license", model=scene.other_model)


@attack("mixing", Power.SAME_USER, "use a license for a model that it does not name", both=StoppedBy.CRYPTOGRAPHY)
def model_that_is_not_licensed(scene: AttackScene) -> Outcome:
    return _tried(scene, scene.license, "the license", other_model=True)


@attack(
    "mixing",
    Power.SAME_USER,
    "sign a license of one's own for the model, and trust oneself by another trust file",
    both=StoppedBy.CRYPTOGRAPHY,
)
def trust_file_of_another_vendor(scene: AttackScene) -> Outcome:
    stolen = signed_again(scene.license, scene.stranger._signing_key)
    reasons = [scene.refusal(stolen), scene.refusal(stolen, trust=scene.stranger.trust_path)]
    assert reasons[0] == "untrusted_vendor"
    refused = None if None in reasons else f"{reasons[0]}; with the vendor trusted, {reasons[1]}"
    return scene.locked_out(refused, scene.everything(stolen), "a license of another vendor")


@attack(
    "mixing",
    Power.FILES,
    "be another customer of the vendor, and combine both licenses with one's own device key",
    both=StoppedBy.CRYPTOGRAPHY,
)
def two_customers_of_one_vendor(scene: AttackScene) -> Outcome:
    outer = json.loads(scene.license)
    (theirs,) = grants_of(scene.rival_license)
    mixed = json.dumps({**outer, "grants": [*outer["grants"], theirs]}).encode()
    licenses = (scene.license, scene.rival_license, mixed)
    loot = scene.everything(*licenses, homes=(scene.rival.home,))
    return scene.locked_out(scene.refusal(scene.license, box=scene.rival), loot, "the other customer's license")
