"""The device key's file: stealing it, and reading it from another account."""

import shutil
from pathlib import Path

from licensing.device_key import device_key_path, tpm_device_key_path
from tests.attacks.accounts import as_another_user
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import OTHER_MACHINE
from tests.attacks.cheat import derived_without_checks
from tests.attacks.scene import AttackScene

__all__: list[str] = []


def _key_file(scene: AttackScene) -> Path:
    path = device_key_path if scene.tier == "software" else tpm_device_key_path
    return path(scene.box.home)


def _own_home(scene: AttackScene) -> Path:
    """Returns a home that a thief made, with the stolen key file in it."""
    home = scene.new_folder("thief's-home")
    shutil.copy2(_key_file(scene), home)
    return home


@attack(
    "keys",
    Power.FILES,
    "steal the device key's file, the license and the model, without the machine ID",
    both=StoppedBy.CRYPTOGRAPHY,
)
def steal_the_device_key_file(scene: AttackScene) -> Outcome:
    home = _own_home(scene)
    reason = scene.refusal(scene.license, box=scene.box.on_machine(OTHER_MACHINE), home=home, foreign=True)
    loot = scene.everything(homes=(home,), machines=(OTHER_MACHINE,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "with the stolen file")


@attack(
    "keys",
    Power.SAME_USER,
    "steal the device key's file and the machine ID, and pretend the machine and the GPU elsewhere",
    software=StoppedBy.NOTHING,
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def steal_the_device_key_file_and_pretend_the_machine(scene: AttackScene) -> Outcome:
    home = _own_home(scene)
    header = scene.headers[scene.model]
    loot = scene.everything(homes=(home,), tcti=scene.foreign_tcti)
    if derived_without_checks(loot, header.model_id, header.key_id):
        said = "with the stolen file and the machine ID, a program without checks derives the content key anywhere"
        return Outcome(said, StoppedBy.NOTHING, "content key", elsewhere=True)
    reason = scene.refusal(scene.license, home=home, foreign=True)
    return scene.locked_out(reason, loot, "with the stolen file and the machine ID")


@attack(
    "keys",
    Power.OTHER_USER,
    "read the device key's file from another account",
    both=StoppedBy.SYSTEM,
)
def read_the_device_key_as_another_user(scene: AttackScene) -> Outcome:
    """Every folder above is opened to others meanwhile, so that the file's own mode is what stops them."""
    path = _key_file(scene)
    beside = path.with_name("beside")
    beside.write_text("readable")
    beside.chmod(0o644)
    folders = [folder for folder in path.parents if folder.owner() != "root" or folder.stat().st_mode & 0o001 == 0]
    modes = {folder: folder.stat().st_mode for folder in folders}
    try:
        for folder in folders:
            folder.chmod(0o755)
        control, tried = (as_another_user(["cat", str(each)]) for each in (beside, path))
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
        beside.unlink()
    assert control.stdout == "readable", control
    if tried.returncode == 0:
        return Outcome("the file can be read", StoppedBy.NOTHING, "content key", elsewhere=True)
    assert "denied" in tried.stderr, tried
    return Outcome("permission denied, where a file of the mode 0644 beside it can be read", StoppedBy.SYSTEM)
