"""The customer's bad days with hardware: each with the sentence that is said, and what to do then, done.

A new GPU, a new board, a system that is installed anew, a container without a machine ID. Each test follows the hints
to the end: the locked model runs again, and is the same file.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.command_line import Outcome, as_process, here
from tests.fake_nvml import Box, FakeGpu, FakeNvml
from tests.story import Story
from tests.tools.test_other_machine import on_machine

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

OLD_GPU, NEW_GPU, SPARE_GPU = (f"GPU-{number:08x}-0000-4000-8000-000000000000" for number in (1, 2, 3))
FIRST_ID, OTHER_ID = "11111111111111111111111111111111", "22222222222222222222222222222222"


@dataclass(frozen=True)
class Customer:
    """A customer's machine, and the vendor at the other end.

    Attributes:
        story: the vendor, and the locked models.
        folder: where the test's files go.
        nvml: what shows the machine its GPUs.
        home: the customer's home; it is made by the first request.
        machine_id: what the machine's ID files hold.
        gpu: the UUID of its GPU.
    """

    story: Story
    folder: Path
    nvml: FakeNvml
    home: Path
    machine_id: str = FIRST_ID
    gpu: str = OLD_GPU

    def command(self, *arguments: str | Path) -> Outcome:
        prefix, variables = self.nvml.installed(Box(gpus=(FakeGpu(self.gpu),)))
        source = self.folder / f"machine-id-{self.machine_id or 'none'}"
        source.write_text(f"{self.machine_id}\n")
        return as_process(
            *arguments, "--home", self.home, "--json", prefix=prefix + on_machine(source), variables=variables
        )

    def request(self, *options: str) -> Outcome:
        return self.command("request", "-o", self.folder / "box.req", "--force", *options)

    def issue(self, *options: str | Path) -> Path:
        """Returns the license that the vendor makes for the last request."""
        license = self.folder / f"{self.home.name}.lic"
        arguments = list(
            self.story.issue(license, "--days", "90", "--force", *options, request=self.folder / "box.req")
        )
        arguments.remove("--allow-no-gpu")
        here(*arguments).done()
        return license

    def run(self, license: Path) -> Outcome:
        trust = ("--trust", self.story.trust, "--force")
        files = ("--license", license, "--input", self.story.inputs, "--output", self.folder / "y.npz")
        return self.command("run", self.story.locked, *files, *trust)


@pytest.fixture
def customer(story: Story, tmp_path: Path, fake_nvml: FakeNvml) -> Customer:
    """Returns a customer without a license, on a day on which all is well."""
    return Customer(story.copied(tmp_path / "story"), tmp_path, fake_nvml, tmp_path / "home")


@pytest.fixture
def license(customer: Customer) -> Path:
    customer.request().done()
    license = customer.issue()
    customer.run(license).done()
    return license


def test_new_gpu(customer: Customer, license: Path) -> None:
    repaired = replace(customer, gpu=NEW_GPU)
    outcome = repaired.run(license)
    assert outcome.refused(3, "gpu_mismatch") == "the license is for another GPU than those in this machine"
    assert outcome.facts["hints"][-1] == "after replacing a GPU, make a new request and send it to the vendor"
    repaired.request().done()
    repaired.run(repaired.issue()).done()


def test_new_gpu_that_was_licensed_ahead(customer: Customer, license: Path) -> None:
    ahead = customer.issue("--spare-gpu", SPARE_GPU)
    customer.run(ahead).done()
    replace(customer, gpu=SPARE_GPU).run(ahead).done()
    replace(customer, gpu=NEW_GPU).run(ahead).refused(3, "gpu_mismatch")


def test_new_board(customer: Customer, license: Path) -> None:
    """The machine ID is the installation's, on its disk: with the disk and the GPU, nothing has changed.

    Where the disk is gone, too, the machine is another one, and a spare one can have its license ahead.
    """
    customer.run(license).done()
    spare = replace(customer, machine_id=OTHER_ID, gpu=SPARE_GPU, home=customer.folder / "spare")
    first = customer.folder / "first.req"
    shutil.copy(customer.folder / "box.req", first)
    spare.request().done()
    shutil.copy(customer.folder / "box.req", customer.folder / "spare.req")
    shutil.copy(first, customer.folder / "box.req")
    both = customer.issue("--spare", customer.folder / "spare.req")
    ahead = both.with_name("home-spare-1.lic")
    customer.run(both).done()
    spare.run(ahead).done()
    assert spare.run(both).refused(3, "machine_mismatch").startswith("the license is for another machine: ")
    customer.run(ahead).refused(3, "machine_mismatch")
    # The device key makes a license the spare machine's own: its identifiers alone, imitated, open nothing.
    replace(customer, machine_id=OTHER_ID, gpu=SPARE_GPU).run(ahead).refused(3, "device_key_mismatch")


def test_same_box_is_no_spare_machine(customer: Customer, license: Path) -> None:
    request = customer.folder / "box.req"
    arguments = customer.story.issue(customer.folder / "two.lic", "--days", "9", "--spare", request, request=request)
    sentence = here(*arguments, "--json").refused(2, "usage")
    assert sentence == "two of the requests come from the same box"
    assert not list(customer.folder.glob("two*.lic"))


def test_system_that_was_installed_anew(customer: Customer, license: Path) -> None:
    """The home was restored from a backup."""
    anew = replace(customer, machine_id=OTHER_ID)
    outcome = anew.run(license)
    assert outcome.refused(3, "machine_mismatch").startswith("the license is for another machine: ")
    assert outcome.facts["hints"] == [
        "run 'weightlock request' on this machine and send the file to the vendor",
        "a system that was installed anew is another machine, and so is a container without the host's machine ID",
    ]
    outcome = anew.request()
    outcome.refused(3, "device_key_mismatch")
    assert outcome.facts["hints"][-1] == "'weightlock request --new-device-key' sets this key aside and makes another"
    anew.request("--new-device-key").done()
    anew.run(anew.issue()).done()


def test_system_that_was_installed_anew_without_a_backup(customer: Customer, license: Path) -> None:
    anew = replace(customer, machine_id=OTHER_ID, home=customer.folder / "empty")
    anew.run(license).refused(3, "machine_mismatch")
    anew.request().done()
    anew.run(anew.issue()).done()


@pytest.mark.parametrize("machine_id", ["", "uninitialized"])
def test_container_without_a_machine_id(machine_id: str, customer: Customer, license: Path) -> None:
    container = replace(customer, machine_id=machine_id)
    for outcome in (container.run(license), container.request()):
        outcome.refused(3, "machine_id_unavailable")
        assert outcome.facts["hints"][-1] == "in a container, mount the host's /etc/machine-id read-only"
    replace(container, machine_id=FIRST_ID).run(license).done()


def test_container_with_an_id_of_its_own(customer: Customer, license: Path) -> None:
    outcome = replace(customer, machine_id=OTHER_ID).run(license)
    outcome.refused(3, "machine_mismatch")
    assert "container without the host's machine ID" in outcome.facts["hints"][-1]
