"""A whole story as files, for tests that only read it: a vendor, a customer's box, locked models and their license."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import here

__all__ = ["Story", "story", "unchanged", "write_onnx"]

WIDTH = 64


@dataclass(frozen=True)
class Story:
    """Where everything is.

    Attributes:
        folder: holds all the rest.
        vendor, customer: the homes. The customer's has the trust file.
        plain, locked: a model in one ONNX file.
        plain_folder, locked_folder: the same with external data, locked from its directory.
        request: the box's, without a GPU.
        license: for both models.
        inputs: for both models, in an .npz file.
    """

    folder: Path
    vendor: Path
    customer: Path
    plain: Path
    locked: Path
    plain_folder: Path
    locked_folder: Path
    request: Path
    license: Path
    inputs: Path

    @property
    def trust(self) -> Path:
        """The vendor's trust file, as the customer has it."""
        return self.customer / "trust.jwks"

    def copied(self, folder: Path) -> "Story":
        """Returns a copy in a new folder, for a test that adds to it or spoils it."""
        shutil.copytree(self.folder, folder)
        return Story(**{name: folder / path.relative_to(self.folder) for name, path in vars(self).items()})

    def run(self, output: Path, *options: str | Path, **changed: Path) -> tuple[str | Path, ...]:
        """Returns the arguments that run the locked model; `locked`, `license` and `inputs` can be others."""
        locked, license = changed.get("locked", self.locked), changed.get("license", self.license)
        inputs = changed.get("inputs", self.inputs)
        files = ("run", locked, "--license", license, "--input", inputs, "--output", output)
        return (*files, "--home", self.customer, *options)

    def issue(self, output: Path, *options: str | Path, request: Path | None = None) -> tuple[str | Path, ...]:
        """Returns the arguments that issue a license for both models."""
        models = ("-m", self.locked, "-m", self.locked_folder)
        terms = ("--customer", "Acme", "--allow-no-gpu", "--home", self.vendor)
        return ("issue", request or self.request, *models, *terms, "-o", output, *options)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Returns the story. It is for reading: a test that writes to it disturbs the others."""
    import numpy  # Deferred, as onnx below: the tests of `licensing` also run where there is neither.

    folder = tmp_path_factory.mktemp("story")
    places = ["vendor", "customer", "net.onnx", "net.locked", "folder", "folder.locked", "box.req", "acme.lic", "x.npz"]
    told = Story(folder, *(folder / name for name in places))
    write_onnx(told.plain)
    told.plain_folder.mkdir()
    write_onnx(told.plain_folder / "net.onnx", external_data="net.data")
    numpy.savez(told.inputs, x=numpy.ones((2, WIDTH), numpy.float32))
    here("vendor", "init", "--name", "Löwe AI", "--home", told.vendor)
    here("encrypt", told.plain, "-o", told.locked, "--home", told.vendor).done()
    here("encrypt", told.plain_folder, "-o", told.locked_folder, "--home", told.vendor).done()
    here("request", "-o", told.request, "--gpu", "none", "--home", told.customer).done()
    here(*told.issue(told.license, "--days", "90")).done()
    told.trust.write_bytes((told.vendor / "trust.jwks").read_bytes())
    return told


def write_onnx(path: Path, external_data: str | None = None, weights: Any = None) -> None:
    """Writes a model that multiplies "x" by a matrix, as "y".

    Args:
        path: the file.
        external_data: a file beside it that holds the matrix.
        weights: the matrix, float32, at least 2 to 2.
    """
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if weights is None:
        weights = numpy.random.default_rng(7).standard_normal((WIDTH, WIDTH)).astype(numpy.float32)
    rows, columns = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if external_data is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external_data, size_threshold=0)


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Asserts that not a file of a folder appeared, vanished or changed meanwhile."""
    before = _content(folder)
    yield
    assert _content(folder) == before


def _content(folder: Path) -> dict[str, str | None]:
    """Returns a hash of each file that can be read, and None for everything else."""
    found: dict[str, str | None] = {}
    for place, directories, names in os.walk(folder):
        found.update({os.path.join(place, name): None for name in directories})
        for name in names:
            path = os.path.join(place, name)
            readable = os.path.isfile(path) and os.path.getsize(path) < 100_000_000 and os.access(path, os.R_OK)
            found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest() if readable else None
    return found
