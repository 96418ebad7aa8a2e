"""The process that runs the model: looking into it, and putting code into it. The tier of the device key is no part."""

from tests.attacks.attack import CannotBeTriedError, Outcome, Power, StoppedBy, attack
from tests.attacks.held import licensed_model, seen, seen_unhardened
from tests.attacks.scene import AttackScene
from tests.command_line import as_process

__all__: list[str] = []

UNDUMPABLE = "permission denied; the same is done to a process that was not hardened"


def _looked(scene: AttackScene, what: str) -> Outcome:
    """Judges what the same user got of `weightlock run`; the control is a process that was not hardened."""
    if seen_unhardened(scene).same_user[what] != "found":
        raise CannotBeTriedError("this system refuses it even where nothing was hardened, so that nothing is shown")
    if seen(scene).same_user[what] == "denied":
        return Outcome(UNDUMPABLE, StoppedBy.SYSTEM)
    return Outcome(f"{what}: {seen(scene).same_user[what]}", StoppedBy.NOTHING, "plaintext", elsewhere=True)


@attack(
    "process", Power.SAME_USER, "read the memory of `weightlock run` through /proc/PID/mem", either=StoppedBy.SYSTEM
)
def read_the_memory(scene: AttackScene) -> Outcome:
    return _looked(scene, "memory")


@attack(
    "process",
    Power.SAME_USER,
    "read what else /proc shows of `weightlock run`: environment, mappings, open files",
    either=StoppedBy.SYSTEM,
)
def read_the_proc_entries(scene: AttackScene) -> Outcome:
    return _looked(scene, "entries")


@attack("process", Power.SAME_USER, "attach a debugger to `weightlock run`", either=StoppedBy.SYSTEM)
def attach_a_debugger(scene: AttackScene) -> Outcome:
    return _looked(scene, "debugger")


@attack("process", Power.SAME_USER, "make `weightlock run` crash, and read its core dump", either=StoppedBy.SYSTEM)
def read_the_core_dump(scene: AttackScene) -> Outcome:
    if _looked(scene, "core").stopped_by is StoppedBy.SYSTEM:
        said = "no core dump is written; that of a process that was not hardened holds the weights"
        return Outcome(said, StoppedBy.SYSTEM)
    return Outcome("the core dump holds the weights", StoppedBy.NOTHING, "plaintext", elsewhere=True)


@attack(
    "process",
    Power.SAME_USER,
    "read the memory of an application that does not call licensing.harden()",
    either=StoppedBy.NOTHING,
)
def read_the_memory_of_an_unhardened_application(scene: AttackScene) -> Outcome:
    if seen_unhardened(scene).same_user["memory"] != "found":
        return Outcome("permission denied", StoppedBy.SYSTEM)
    return Outcome("the weights are there", StoppedBy.NOTHING, "plaintext", elsewhere=True)


@attack(
    "process",
    Power.OTHER_USER,
    "read the memory and the environment of `weightlock run` from another account",
    either=StoppedBy.SYSTEM,
)
def read_the_memory_as_another_user(scene: AttackScene) -> Outcome:
    if seen(scene).other_user != "denied":
        return Outcome("they can be read", StoppedBy.NOTHING, "plaintext", elsewhere=True)
    return Outcome("permission denied", StoppedBy.SYSTEM)


@attack("process", Power.ROOT, "read the memory of `weightlock run` as root", either=StoppedBy.NOTHING)
def read_the_memory_as_root(scene: AttackScene) -> Outcome:
    if not seen(scene).root["weights"]:
        return Outcome("the weights are not there", StoppedBy.SYSTEM)
    return Outcome("the weights are there", StoppedBy.NOTHING, "plaintext", elsewhere=True)


INJECTED = """
import os
try:
    import licensing.unlock as unlock
except ImportError:
    pass
else:
    unwrap = unlock.unwrap_grant

    def unwrap_and_tell(kek, grant, key_id):
        content_key = unwrap(kek, grant, key_id)
        with open(os.environ["LOOT"], "w") as file:
            file.write(content_key.hex())
        return content_key

    unlock.unwrap_grant = unwrap_and_tell
"""


@attack(
    "process",
    Power.SAME_USER,
    "inject code into `weightlock run` through `PYTHONPATH`",
    either=StoppedBy.NOTHING,
)
def inject_through_pythonpath(scene: AttackScene) -> Outcome:
    model, folder = licensed_model(scene), scene.new_folder("injected")
    (folder / "sitecustomize.py").write_text(INJECTED)
    loot, output = folder / "loot", folder / "y.npz"
    variables = {"PYTHONPATH": str(folder), "LOOT": str(loot)}
    as_process(*model.arguments, "--output", output, variables=variables).done()
    if not loot.exists() or bytes.fromhex(loot.read_text()) != model.content_key:
        return Outcome("the injected code did not run", StoppedBy.SYSTEM)
    said = "the injected code runs before the program does, and writes the content key to a file"
    return Outcome(said, StoppedBy.NOTHING, "content key", elsewhere=True)
