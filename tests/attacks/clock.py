"""The clock: setting it back, faking it, and tampering with the record of the highest time seen."""

from datetime import datetime, timezone

from licensing.device_key import open_device_key
from licensing.time_state import StateKey, TimeState, TpmRecord, state_path
from tests.attacks.attack import Outcome, Power, StoppedBy, attack, require
from tests.attacks.clocked import DAY, END, clocked, more_time
from tests.attacks.scene import AttackScene
from tests.command_line import as_process

__all__: list[str] = []


@attack(
    "clock",
    Power.SAME_USER,
    "run the program under faketime, after the end of the license",
    both=StoppedBy.CHECK,
)
def faketime(scene: AttackScene) -> Outcome:
    require("faketime")
    past = datetime.now(timezone.utc) - 40 * DAY
    license = scene.folder / "ended.lic"
    license.write_bytes(scene.issue(gpus=(), now=past, expires=past + END * DAY))
    command = ("status", license, "--home", scene.box.home, "--json")
    as_process(*command).refused(3, "expired")
    outcome = as_process(*command, prefix=["faketime", "-f", "-20d"])
    return more_time(None if outcome.code == 0 else str(outcome.facts["reason"]), "at a time before the end")


@attack("clock", Power.ROOT, "set the machine's clock back, after the end of the license", both=StoppedBy.CHECK)
def set_the_clock_back(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        box.use(0, 40)
        assert box.refusal(40) == "expired"
        return more_time(box.refusal(10), "at a time before the end")


@attack(
    "clock",
    Power.ROOT,
    "set the machine's clock to the same moment before each start, so that it never passes the end",
    software=StoppedBy.NOTHING,
    tpm=StoppedBy.CHECK,
)
def keep_the_clock(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        assert box.refusal(10) is None
        box.pass_days(60)
        return more_time(box.refusal(10), "two months after that moment")


@attack("clock", Power.ROOT, "delete the time state and its twin, and set the clock back", both=StoppedBy.CHECK)
def delete_the_time_state(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        box.use(0, 40)
        box.state.unlink()
        first = box.refusal(10)
        box.twin.unlink()
        second = box.refusal(10)
    return more_time(second and first, "without a time state")


@attack("clock", Power.ROOT, "put an older copy of the home back, and set the clock back", both=StoppedBy.CHECK)
def restore_an_older_time_state(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        older = box.state.read_bytes()
        assert box.refusal(1) is None
        box.use(3, 40)
        box.state.write_bytes(older)
        return more_time(box.refusal(2), "with the older state")


@attack(
    "clock",
    Power.ROOT,
    "put older copies of the home and of the twin back, and set the clock back",
    software=StoppedBy.NOTHING,
    tpm=StoppedBy.CHECK,
)
def restore_the_time_state_and_its_twin(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        assert box.refusal(1) is None
        older = box.state.read_bytes(), box.twin.read_bytes()
        box.use(3, 40)
        for file, data in zip((box.state, box.twin), older, strict=True):
            file.write_bytes(data)
        return more_time(box.refusal(2), "with both older states")


@attack(
    "clock",
    Power.ROOT,
    "take the time state of another box, which has not seen the end, and set the clock back",
    both=StoppedBy.CHECK,
)
def copy_the_time_state_of_another_box(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        box.use(0, 40)
        box.state.write_bytes(state_path(scene.rival.home).read_bytes())
        box.twin.unlink()
        return more_time(box.refusal(10), "with another box's state")


@attack(
    "clock",
    Power.ROOT,
    "make a time state of one's own with the device key, and set the clock back",
    both=StoppedBy.NOTHING,
)
def forge_the_time_state(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        box.use(0, 40)
        key = open_device_key(box.home, box.box.hardware.machine)
        seconds = int((box.begin + 10 * DAY).timestamp())
        state = TimeState(key.thumbprint, seconds, seconds, tpm=TpmRecord.of(seconds, key.clock()))
        for file in (box.state, box.twin):
            file.write_bytes(state.to_bytes(StateKey.of(key)))
        return more_time(box.refusal(10), "with a state that was made for it")
