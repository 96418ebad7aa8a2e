"""Licenses and clock resets that were good once, used again."""

from datetime import datetime, timezone

from licensing.clock_reset import apply_clock_reset, make_clock_reset, read_clock_reset
from licensing.errors import LicensingError
from licensing.trust import TrustedKeys
from licensing.vendor_home import VendorHome
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import GPU, request_of
from tests.attacks.clocked import DAY, END, Clocked, clocked, more_time
from tests.attacks.scene import AttackScene
from tests.clocked_box import StandInClock

__all__: list[str] = []


@attack("clock", Power.SAME_USER, "use a license that has ended, as it is", both=StoppedBy.CHECK)
def replay_a_license_that_has_ended(scene: AttackScene) -> Outcome:
    past = datetime.now(timezone.utc) - 40 * DAY
    return more_time(scene.refusal(scene.issue(now=past, expires=past + END * DAY)), "after the end")


@attack(
    "clock",
    Power.SAME_USER,
    "use an old license that has not ended, after a new one took a model away",
    both=StoppedBy.NOTHING,
)
def replay_a_license_that_was_replaced(scene: AttackScene) -> Outcome:
    old = scene.issue(scene.model, scene.other_model)
    assert scene.refusal(scene.issue(scene.model), model=scene.other_model) == "model_not_licensed"
    reason = scene.refusal(old, model=scene.other_model)
    if reason is not None:
        return more_time(reason, "the model that the new license lacks")
    said = "the model that the new license lacks: unlocked, for a license cannot be taken back before its end"
    return Outcome(said, StoppedBy.NOTHING, "use of the model")


def _reset(box: Clocked, vendor: VendorHome) -> bytes:
    scene = box.scene
    request = request_of(box.box, (GPU,), scene.vendor, scene.makers, box.begin)
    if vendor is scene.vendor:
        return vendor.reset_clock(request, now=box.begin)
    return make_clock_reset(box.box.device_key.thumbprint, vendor.name, vendor._signing_key, box.begin)


def _applied(box: Clocked, reset: bytes, vendor: VendorHome, day: float) -> str | None:
    """Returns why a clock reset is refused when the clock says that so many days have passed."""
    now = box.begin + day * DAY
    try:
        verified = read_clock_reset(reset, TrustedKeys.read(vendor.trust_path))
        apply_clock_reset(box.home, box.box.device_key, verified, now, StandInClock(now))
    except LicensingError as error:
        return error.reason
    return None


@attack("clock", Power.ROOT, "keep a vendor's clock reset, and apply it a second time", both=StoppedBy.CHECK)
def reuse_a_clock_reset(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        reset = _reset(box, scene.vendor)
        assert _applied(box, reset, scene.vendor, 1) is None
        box.use(3, 40)
        return more_time(_applied(box, reset, scene.vendor, 2), "the same reset")


@attack(
    "clock",
    Power.ROOT,
    "keep a clock reset, delete the time state and its twin, set the clock back, and apply the reset again",
    both=StoppedBy.NOTHING,
)
def reuse_a_clock_reset_without_a_trace(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        reset = _reset(box, scene.vendor)
        assert _applied(box, reset, scene.vendor, 1) is None
        box.use(3, 40)
        assert box.refusal(3) is not None
        box.state.unlink()
        box.twin.unlink()
        return more_time(_applied(box, reset, scene.vendor, 2) or box.refusal(3), "after the second use of the reset")


@attack(
    "clock",
    Power.ROOT,
    "sign a clock reset as a vendor of one's own, apply it, and use the real vendor's license",
    both=StoppedBy.CHECK,
)
def clock_reset_of_another_vendor(scene: AttackScene) -> Outcome:
    with clocked(scene) as box:
        box.use(0, 40)
        box.state.unlink()
        box.twin.unlink()
        assert _applied(box, _reset(box, scene.stranger), scene.stranger, 2) is None
        return more_time(box.refusal(3), "the real vendor's license")
