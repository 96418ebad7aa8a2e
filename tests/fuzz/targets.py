"""All fuzz targets, by name."""

from tests.fuzz.box_targets import BOX_TARGETS
from tests.fuzz.container_targets import CONTAINER_TARGETS
from tests.fuzz.license_targets import LICENSE_TARGETS
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target for target in (*LICENSE_TARGETS, *BOX_TARGETS, *CONTAINER_TARGETS, *MODEL_TARGETS)
}
