"""TensorRT: real plans go through untouched, and what a plan needs here is known before it is decrypted.

Engines are those of stand-ins (tests/standins), which say nothing about the real runtime; tests/gpu tries that.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx
from cryptography.fernet import Fernet

from cryptors import CryptorFactory
from cryptors.detect import detect_type
from cryptors.memory import PlaintextMemory
from cryptors.model_type import ModelType
from licensing.content_key import content_key_base64
from tests.contract.case import inputs, trained_weights
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused
from tests.standins.cuda_standin import DriverStandIn
from tests.standins.places import gpu_with, in_place_of
from tests.standins.tensorrt_standin import RuntimeStandIn, tensorrt_standin, write_plan
from tests.tensorrt_models import build_plan, write_network

TENSORRT = CryptorFactory.instance("tensorrt")
WIDTH = 40


def lock(plan: Path) -> Path:
    TENSORRT.encrypt(plan, CONTENT_KEY, plan.with_suffix(".locked"))
    return plan.with_suffix(".locked")


def lock_toy(folder: Path, **options: Any) -> Path:
    return lock(write_plan(folder / "network.engine", trained_weights(WIDTH), **options))


# Plaintext.


@pytest.mark.parametrize("width", [WIDTH, 800])
def test_real_plan_comes_back_byte_for_byte(tmp_path: Path, width: int) -> None:
    """Neither a GPU nor TensorRT is needed for that; the wider one's 2.6 MB are several segments."""
    plan = tmp_path / "network.engine"
    plan.write_bytes(build_plan(write_network(tmp_path / "network.onnx", trained_weights(width)), tensorrt_rtx))
    assert detect_type(plan) is ModelType.MODEL_TENSORRT
    with gpu_with(gpus=0):
        plaintext = TENSORRT.decrypt(lock(plan), CONTENT_KEY)
    assert type(plaintext) is bytes
    assert plaintext == plan.read_bytes()


def test_plan_of_ultralytics(tmp_path: Path) -> None:
    """It begins with a description that no runtime reads; the plan is found behind it."""
    plan = write_plan(tmp_path / "yolo.engine", trained_weights(WIDTH))
    description = json.dumps({"description": "Ultralytics YOLO", "names": ["a" * 10_000]}).encode()
    plan.write_bytes(len(description).to_bytes(4, "little") + description + plan.read_bytes())
    assert detect_type(plan) is ModelType.MODEL_TENSORRT
    assert TENSORRT.decrypt(lock(plan), CONTENT_KEY) == plan.read_bytes()
    for has_stream_reader in (True, False):
        with gpu_with(tensorrt_standin(has_stream_reader=has_stream_reader)):
            assert TENSORRT.load(tmp_path / "yolo.locked", CONTENT_KEY).width == WIDTH


@pytest.mark.parametrize("content", [b"ftr", b"\x10\0\0\0{}", b"\x02\0\0\0{}ftrX", b"\xff\xff\xff\xff{}ftrt"])
def test_what_is_no_plan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.engine").write_bytes(content)
    assert_refused("model_type_mismatch", lock, tmp_path / "model.engine")
    assert_refused("model_type_mismatch", lock, tmp_path)
    locked = write_container(tmp_path / "model.locked", {"model.engine": content}, model_type="tensorrt")
    with gpu_with():
        assert_refused("model_rejected", TENSORRT.load, locked, CONTENT_KEY)


def test_file_of_the_old_toolkit(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "network.engine", trained_weights(WIDTH))
    token = Fernet(content_key_base64(CONTENT_KEY)).encrypt(plan.read_bytes())
    (tmp_path / "network.crt").write_bytes(token)
    assert TENSORRT.decrypt(tmp_path / "network.crt", CONTENT_KEY) == plan.read_bytes()
    with gpu_with():
        assert TENSORRT.load(tmp_path / "network.crt", CONTENT_KEY).width == WIDTH


# GPUs.

WITHOUT_GPU = """
import sys
from cryptors import load_model
from licensing.errors import WeightlockError
try:
    load_model(sys.argv[1], crypt_key=bytes(range(32)))
except WeightlockError as error:
    print(error.reason, error.message, sys.modules.keys() & {"tensorrt", "tensorrt_rtx"}, sep="|")
"""


def test_no_gpu(tmp_path: Path) -> None:
    """The real CUDA says so, in a process that sees no GPU, and TensorRT is not even imported: it could crash."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", WITHOUT_GPU, str(lock_toy(tmp_path))]
    ended = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert ended.stdout == "framework_missing|this model needs an NVIDIA GPU, and CUDA finds none here|set()\n"


def test_nothing_is_decrypted_without_a_gpu(tmp_path: Path) -> None:
    locked = lock(write_plan(tmp_path / "network.engine", trained_weights(800)))
    data = bytearray(locked.read_bytes())
    data[-1] ^= 1
    locked.write_bytes(data)
    with gpu_with():
        assert_refused("model_damaged", TENSORRT.load, locked, CONTENT_KEY)
    with gpu_with(gpus=0):
        error = assert_refused("framework_missing", TENSORRT.load, locked, CONTENT_KEY)
        assert "nvidia-smi" in error.hints[0]
        assert_refused("framework_missing", TENSORRT.run_options, "cuda:0", None, False)


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "cuda:x", "gpu", ""])
def test_device_that_does_not_exist(tmp_path: Path, device: str) -> None:
    locked = lock_toy(tmp_path)
    with gpu_with():
        error = assert_refused("usage", TENSORRT.load, locked, CONTENT_KEY, device=device)
        assert_refused("usage", TENSORRT.run_options, device, None, False)
        assert error.hints
        assert TENSORRT.load(locked, CONTENT_KEY, device="cuda").width == WIDTH


@pytest.mark.parametrize(("before", "after"), [(0, 101), (100, 101), (501, 501)])
def test_context_of_the_caller_stays(tmp_path: Path, before: int, after: int) -> None:
    """The stand-in's primary contexts are 100 and 101, and 501 is one of the caller's on GPU 1."""
    with gpu_with(gpus=2) as driver:
        driver.context = before
        TENSORRT.load(lock_toy(tmp_path), CONTENT_KEY, device="cuda:1")
        assert driver.context == after


def test_driver_that_is_not_there(tmp_path: Path) -> None:
    class NoDriver(DriverStandIn):
        def cuInit(self, flags: int) -> tuple[Any, ...]:
            raise RuntimeError("Failed to dlopen libcuda.so.1")

    locked = lock_toy(tmp_path)
    with in_place_of({"cuda.bindings.driver": NoDriver()}):
        error = assert_refused("framework_missing", TENSORRT.load, locked, CONTENT_KEY)
    assert "dlopen" in str(error.__cause__)


def test_gpu_that_cannot_be_used(tmp_path: Path) -> None:
    class BusyDriver(DriverStandIn):
        def cuDevicePrimaryCtxRetain(self, gpu: Any) -> tuple[Any, ...]:
            return self.CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE, None

    locked = lock_toy(tmp_path)
    with in_place_of({"cuda.bindings.driver": BusyDriver()}):
        for call in (lambda: TENSORRT.load(locked, CONTENT_KEY), lambda: TENSORRT.run_options("cuda:0", None, False)):
            error = assert_refused("framework_unsuitable", call)
            assert error.message == "the device 'cuda:0' cannot be used: CUDA failed with CUDA_ERROR_DEVICE_UNAVAILABLE"


# Runtimes.


@pytest.mark.parametrize(
    ("magic", "installed", "taken"),
    [
        (b"ftrt", ["tensorrt_rtx", "tensorrt_dispatch", "tensorrt_lean", "tensorrt"], "tensorrt"),
        (b"ptrt", ["tensorrt_dispatch", "tensorrt_lean"], "tensorrt_lean"),
        (b"ftrt", ["tensorrt_dispatch"], "tensorrt_dispatch"),
        (b"vtrt", ["tensorrt", "tensorrt_rtx"], "tensorrt_rtx"),
    ],
)
def test_runtime_of_a_plan(tmp_path: Path, magic: bytes, installed: list[str], taken: str) -> None:
    made: list[str] = []

    def module(name: str) -> Any:
        def runtime(logger: Any) -> RuntimeStandIn:
            made.append(name)
            return RuntimeStandIn(logger)

        found = tensorrt_standin(name)
        found.Runtime = runtime
        return found

    with gpu_with(*map(module, installed)):
        TENSORRT.load(lock_toy(tmp_path, magic=magic), CONTENT_KEY)
    assert made == [taken]


@pytest.mark.parametrize(("magic", "installed"), [(b"ftrt", "tensorrt_rtx"), (b"vtrt", "tensorrt_lean")])
def test_only_the_other_runtime(tmp_path: Path, magic: bytes, installed: str) -> None:
    with gpu_with(tensorrt_standin(installed)):
        error = assert_refused("framework_unsuitable", TENSORRT.load, lock_toy(tmp_path, magic=magic), CONTENT_KEY)
    assert installed in error.message
    assert ("tensorrt-rtx" in error.hints[0]) == (magic == b"vtrt")


@pytest.mark.parametrize(("magic", "wanted"), [(b"ftrt", "weightlock[tensorrt]"), (b"vtrt", "tensorrt-rtx")])
def test_no_runtime(tmp_path: Path, magic: bytes, wanted: str) -> None:
    with gpu_with(tensorrt_standin("something_else")):
        error = assert_refused("framework_missing", TENSORRT.load, lock_toy(tmp_path, magic=magic), CONTENT_KEY)
    assert error.message.endswith("which is not installed")
    assert wanted in error.hints[0]


def test_runtime_that_does_not_start(tmp_path: Path) -> None:
    """TensorRT's bindings raise TypeError for a null pointer, as with a driver that is too old."""

    def fail(logger: Any) -> None:
        logger.log(tensorrt_rtx.ILogger.ERROR, "CUDA initialization failure with error: 35\nmore")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = tensorrt_standin()
    module.Runtime = fail
    with gpu_with(module):
        error = assert_refused("framework_unsuitable", TENSORRT.load, lock_toy(tmp_path), CONTENT_KEY)
    assert error.message == "tensorrt does not start here: CUDA initialization failure with error: 35"
    assert isinstance(error.__cause__, TypeError)


@pytest.mark.parametrize("has_stream_reader", [True, False])
def test_memory_is_wiped_and_the_engine_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_stream_reader: bool
) -> None:
    """Also where the plan comes in many chunks; the stand-in asserts that runtime and logger outlive the engine."""
    views: list[memoryview] = []

    def remember(size: int) -> PlaintextMemory:
        memory = PlaintextMemory(size)
        views.append(memory.view[:])
        return memory

    for module in ("stream", "runtime"):
        monkeypatch.setattr(f"cryptors.tensorrt_{module}.PlaintextMemory", remember)
    monkeypatch.setattr("cryptors.tensorrt_stream.CHUNK_BYTES", 1000)
    locked = lock_toy(tmp_path)
    with gpu_with(tensorrt_standin(has_stream_reader=has_stream_reader)):
        engine = TENSORRT.load(locked, CONTENT_KEY)
        assert [len(view) == 1000 for view in views] == [has_stream_reader]
        assert bytes(views[0]) == bytes(len(views[0]))
        gc.collect()
        for _ in range(2):
            found = TENSORRT.infer(engine, inputs(WIDTH), "cuda:0")["y"]
            assert found.tobytes() == engine.compute(inputs(WIDTH)["x"]).tobytes()


def test_interrupted_load(tmp_path: Path) -> None:
    """TensorRT's bindings print what a reader raises, and go on."""

    def interrupt(done: int, in_all: int) -> None:
        raise KeyboardInterrupt

    with gpu_with(), pytest.raises(KeyboardInterrupt):
        TENSORRT.load(lock_toy(tmp_path), CONTENT_KEY, progress=interrupt)


# Plans that TensorRT does not accept.


def test_plan_that_is_cut_short(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "network.engine", trained_weights(WIDTH))
    plan.write_bytes(plan.read_bytes()[:-1])
    locked, before = lock(plan), len(os.listdir("/proc/self/fd"))
    for has_stream_reader in (True, False):
        with gpu_with(tensorrt_standin(has_stream_reader=has_stream_reader)):
            error = assert_refused("model_rejected", TENSORRT.load, locked, CONTENT_KEY)
        assert "plan.header.size == blobSize" in error.message
        assert "plan.header.size == blobSize" in str(error.__cause__)
    assert len(os.listdir("/proc/self/fd")) == before


def test_plugin_that_is_not_there(tmp_path: Path) -> None:
    with gpu_with():
        error = assert_refused("model_rejected", TENSORRT.load, lock_toy(tmp_path, kind="plugin"), CONTENT_KEY)
    assert "Example" in error.message
    assert "plugins" in error.hints[0]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("other version", "not compatible with this version of TensorRT)"),
        ("other GPU", "expecting compute 8.6, please rebuild"),
        ("other tag", "Version tag does not match.)"),
    ],
)
def test_plan_that_was_made_for_elsewhere(tmp_path: Path, kind: str, said: str) -> None:
    """TensorRT says more than one thing then, and the first one is the reason."""
    with gpu_with():
        error = assert_refused("framework_unsuitable", TENSORRT.load, lock_toy(tmp_path, kind=kind), CONTENT_KEY)
    assert error.message.endswith(said)
    assert "Engine deserialization failed" in str(error.__cause__)


@pytest.mark.parametrize(("diagnostics", "reason"), [(1, "framework_unsuitable"), (32, "model_rejected")])
def test_header_of_a_plan_for_rtx(tmp_path: Path, diagnostics: int, reason: str) -> None:
    """TensorRT for RTX reads from it why it refused a plan: 1 is another version, 32 a malformed plan."""
    plan = write_plan(tmp_path / "network.engine", trained_weights(WIDTH), magic=b"vtrt")
    plan.write_bytes(plan.read_bytes()[:-1])

    class Runtime(RuntimeStandIn):
        engine_header_size = 64

        def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
            assert header == plan.read_bytes()[:64]
            return tensorrt_rtx.EngineValidity.INVALID, diagnostics

    module = tensorrt_standin("tensorrt_rtx")
    module.Runtime = Runtime
    with gpu_with(module):
        assert_refused(reason, TENSORRT.load, lock(plan), CONTENT_KEY)
