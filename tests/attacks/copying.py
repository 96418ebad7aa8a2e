"""Copying what is on the licensed machine to another one."""

import os
from pathlib import Path

from licensing.machine import STABLE_SOURCES
from tests.attacks.attack import Outcome, Power, StoppedBy, attack, require
from tests.attacks.boxes import OTHER_MACHINE
from tests.attacks.scene import TCTI_VARIABLE, AttackScene
from tests.command_line import as_process

__all__: list[str] = []


def _on_machine(scene: AttackScene, machine_id: str) -> list[str]:
    """Returns a prefix under which a command runs where another machine ID is read: a mount namespace of its own."""
    require("unshare")
    file = scene.folder / f"machine-id-{machine_id[:8]}"
    file.write_text(machine_id + "\n")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    sources = " ".join(source for source in STABLE_SOURCES if os.path.exists(source))
    mount = f'set -e; file=$1; shift; for source in {sources}; do mount --bind "$file" "$source"; done; exec "$@"'
    return ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", mount, "sh", str(file)]


def _refusal_elsewhere(scene: AttackScene, home: Path, machine_id: str) -> str | None:
    """Returns why unlocking refuses on another machine; `status` derives every content key, and needs no GPU here."""
    variables = {TCTI_VARIABLE: scene.foreign_tcti} if scene.foreign_tcti else {}
    arguments = ("status", scene.machine_license, "--home", home, "--json")
    outcome = as_process(*arguments, prefix=_on_machine(scene, machine_id), variables=variables)
    assert outcome.code in (0, 3), outcome
    return None if outcome.code == 0 else str(outcome.facts["reason"])


@attack(
    "copying",
    Power.FILES,
    "copy the home, the license and the model to another machine, and run them there",
    both=StoppedBy.CRYPTOGRAPHY,
)
def copy_everything(scene: AttackScene) -> Outcome:
    home = scene.copied_home("copied-home")
    reason = _refusal_elsewhere(scene, home, OTHER_MACHINE.machine_id)
    license = scene.machine_license.read_bytes()
    loot = scene.everything(license, homes=(home,), machines=(OTHER_MACHINE,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "on a machine with another ID")


@attack(
    "copying",
    Power.FILES,
    "copy the license and the model to a machine that pretends the machine ID and the GPU's UUID",
    both=StoppedBy.CRYPTOGRAPHY,
)
def copy_license_and_model(scene: AttackScene) -> Outcome:
    home = scene.new_folder("own-home")
    (home / "trust.jwks").write_bytes(scene.trust.read_bytes())
    reason = scene.refusal(scene.license, home=home, foreign=True)
    loot = scene.everything(homes=(home, scene.rival.home), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "without the device key")


@attack(
    "copying",
    Power.SAME_USER,
    "copy everything to another machine that pretends the machine ID, in a mount namespace, and the GPU's UUID",
    software=StoppedBy.NOTHING,
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def copy_everything_and_pretend_the_machine(scene: AttackScene) -> Outcome:
    home = scene.copied_home("copied-home")
    reason = _refusal_elsewhere(scene, home, scene.box.hardware.machine.machine_id)
    reason = reason or scene.refusal(scene.license, home=home, foreign=True)
    loot = scene.everything(homes=(home,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "on a machine that pretends to be the licensed one")


@attack(
    "copying",
    Power.ROOT,
    "take the licensed machine's unencrypted disk, with its machine ID, and pretend the GPU",
    software=StoppedBy.NOTHING,
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def take_the_whole_disk(scene: AttackScene) -> Outcome:
    home = scene.copied_home("disk-home")
    reason = scene.refusal(scene.license, home=home, foreign=True)
    loot = scene.everything(scene.license, scene.machine_license.read_bytes(), homes=(home,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "with a copy of the disk")
