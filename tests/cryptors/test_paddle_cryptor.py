"""Paddle programs: from which files they are locked, what their predictors need, and what Paddle does not accept."""

import gc
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.fernet import Fernet

from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from cryptors.paddle_inference import import_paddle
from cryptors.reader import LockedModel, read_header
from cryptors.signature import TensorSpec
from licensing.content_key import content_key_base64
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.paddle_setting import PADDLE, PADDLE_FORMATS, WEIGHTS, X, assert_refused, lock, outputs
from tests.paddle_models import predictor, write_json

pytestmark = pytest.mark.usefixtures("memory_only")

both = pytest.mark.parametrize("name", PADDLE_FORMATS)


@pytest.fixture
def folder(paddle_written: Path, tmp_path: Path) -> Path:
    """The written models, all in one folder that the test may change."""
    for each in ("pdmodel", "json"):
        shutil.copytree(paddle_written / each, tmp_path / each)
    return tmp_path


def program(folder: Path, name: str) -> Path:
    return folder / name.partition(".")[2] / name


def computed(x: Any = X) -> Any:
    hidden = np.maximum(x @ WEIGHTS["first.weight"].T + WEIGHTS["first.bias"], 0)
    return hidden @ WEIGHTS["last.weight"].T + WEIGHTS["last.bias"]


# Which files make up a model.


@both
def test_program_brings_its_parameters(folder: Path, name: str) -> None:
    model = program(folder, name)
    assert detect_type(model) is ModelType.MODEL_PADDLE
    locked = lock(model)
    with LockedModel(locked, CONTENT_KEY) as opened:
        assert {file.path for file in opened.index.files} == {name, "m.pdiparams"}
        assert opened.index.entry == name
    expected = outputs(predictor(model))
    assert np.allclose(expected, computed(), atol=1e-5)
    assert outputs(PADDLE.load(locked, CONTENT_KEY)).tobytes() == expected.tobytes()


@both
def test_directory(folder: Path, name: str) -> None:
    model = program(folder, name)
    (model.parent / "inference.yml").write_text("{}")
    locked = folder / "model.locked"
    assert detect_type(model.parent) is ModelType.MODEL_PADDLE
    PADDLE.encrypt(model.parent, CONTENT_KEY, locked)
    assert read_header(locked).files == len(list(model.parent.iterdir()))
    assert outputs(PADDLE.load(locked, CONTENT_KEY)).tobytes() == outputs(predictor(model)).tobytes()


def test_directory_with_two_programs(folder: Path) -> None:
    for file in (folder / "pdmodel").iterdir():
        shutil.copy(file, folder / "json" / f"other{file.suffix}")
    error = assert_refused("model_source_invalid", lock, folder / "json")
    assert "2 Paddle programs" in error.message
    assert "name the program file" in error.hints[0]


def test_directory_without_a_program(folder: Path) -> None:
    (folder / "json" / "m.json").write_text('{"model_type": "bert"}')
    assert_refused("model_type_mismatch", lock, folder / "json")


@both
@pytest.mark.parametrize("whole_directory", [False, True])
def test_missing_parameters(folder: Path, name: str, whole_directory: bool) -> None:
    """With a program of Paddle 3, Paddle only warns, and computes with what the memory held before."""
    model = program(folder, name)
    model.with_suffix(".pdiparams").unlink()
    error = assert_refused("model_source_invalid", lock, model.parent if whole_directory else model)
    assert "m.pdiparams" in error.message
    assert "beside" in error.hints[0]


@both
@pytest.mark.parametrize("change", ["one byte less", "half", "nothing left", "one byte more", "another tensor"])
def test_damaged_parameters(folder: Path, name: str, change: str) -> None:
    """Paddle itself does not see that the last tensor is cut short."""
    model = program(folder, name)
    parameters = model.with_suffix(".pdiparams")
    data = parameters.read_bytes()
    parameters.write_bytes(
        {
            "one byte less": data[:-1],
            "half": data[: len(data) // 2],
            "nothing left": b"",
            "one byte more": data + b"\0",
            "another tensor": data + data,
        }[change]
    )
    assert_refused("model_source_invalid", lock, model)


@both
def test_parameters_of_another_program(folder: Path, tmp_path: Path, name: str) -> None:
    other = write_json(tmp_path / "other.json", {key: array[..., :3] for key, array in wider().items()})
    shutil.copy(other.with_suffix(".pdiparams"), program(folder, name).with_suffix(".pdiparams"))
    error = assert_refused("model_source_invalid", lock, program(folder, name))
    assert "another program" in error.message


def wider() -> dict[str, Any]:
    """Returns the weights of a network whose first layer is smaller once its last dimension is cut to 3."""
    return {**WEIGHTS, "first.weight": WEIGHTS["first.weight"][:3], "last.bias": np.ones(4, np.float32)}


@both
def test_program_cut_short(folder: Path, name: str) -> None:
    model = program(folder, name)
    model.write_bytes(model.read_bytes()[:-20])
    reason = "model_source_invalid" if name == "m.json" else "model_type_mismatch"
    assert_refused(reason, lock, model)


@pytest.mark.filterwarnings("ignore:no variable in your model")
def test_program_without_parameters(tmp_path: Path) -> None:
    paddle = import_paddle()
    layer = paddle.nn.ReLU()
    layer.eval()
    wanted = [paddle.static.InputSpec([None, 4], "float32", "x")]
    paddle.jit.save(layer, str(tmp_path / "relu"), input_spec=wanted)
    (tmp_path / "relu.pdiparams").unlink(missing_ok=True)
    locked = lock(tmp_path / "relu.json")
    assert read_header(locked).files == 1
    assert outputs(PADDLE.load(locked, CONTENT_KEY)).tobytes() == np.maximum(X, 0).tobytes()
    assert PADDLE.load(locked, CONTENT_KEY, api="jit")(paddle.to_tensor(X)).shape == [2, 4]


def test_locked_model_without_its_parameters(folder: Path) -> None:
    """Nothing of ours writes such a container, and Paddle would take it."""
    files = {"m.json": program(folder, "m.json").read_bytes()}
    locked = write_container(folder / "model.locked", files, "m.json", "paddle")
    error = assert_refused("model_malformed", PADDLE.load, locked, CONTENT_KEY)
    assert "parameters" in error.message


# Predictors and layers.


@both
def test_predictor_needs_nothing_of_what_it_was_read_from(folder: Path, name: str) -> None:
    """The memory files are closed by then."""
    model = program(folder, name)
    expected, loaded = outputs(predictor(model)), PADDLE.load(lock(model), CONTENT_KEY)
    shutil.rmtree(model.parent)
    gc.collect()
    for _ in range(3):
        assert outputs(loaded).tobytes() == expected.tobytes()


def test_clone_of_a_predictor(folder: Path) -> None:
    """Both stay alive here: Paddle itself frees the weights that they share with whichever goes first."""
    loaded = PADDLE.load(lock(program(folder, "m.pdmodel")), CONTENT_KEY)
    twin = loaded.clone()
    assert outputs(twin).tobytes() == outputs(loaded).tobytes()


def test_clone_of_a_predictor_that_would_read_the_files_again(folder: Path) -> None:
    """With a program of Paddle 3 that fails, and does not give other numbers."""
    loaded = PADDLE.load(lock(program(folder, "m.json")), CONTENT_KEY)
    expected = outputs(loaded)
    with pytest.raises(RuntimeError):
        loaded.clone()
    assert outputs(loaded).tobytes() == expected.tobytes()


@both
def test_names_in_the_temporary_directory_tell_nothing_of_the_model(folder: Path, name: str) -> None:
    model = program(folder, name)
    for file in list(model.parent.iterdir()):
        file.rename(file.with_stem("secret"))
    seen: list[str] = []

    def look(config: Any) -> None:
        seen.extend(path.name for path in Path(config.prog_file()).parent.iterdir())

    PADDLE.load(lock(model.with_stem("secret")), CONTENT_KEY, configure=look)
    assert sorted(seen) == sorted([name, "m.pdiparams"])


@both
def test_outputs_do_not_change_from_load_to_load(folder: Path, name: str) -> None:
    locked = lock(program(folder, name))
    found = {outputs(PADDLE.load(locked, CONTENT_KEY)).tobytes() for _ in range(5)}
    assert found == {outputs(predictor(program(folder, name))).tobytes()}


def test_paddle_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By default it prints a page for each model that it optimizes."""
    for name in PADDLE_FORMATS:
        outputs(PADDLE.load(lock(program(folder, name)), CONTENT_KEY))
    assert capfd.readouterr() == ("", "")


def test_configure(folder: Path, tmp_path: Path) -> None:
    configs: list[Any] = []

    def configure(config: Any) -> None:
        config.set_cpu_math_library_num_threads(2)
        config.enable_save_optim_model(True)
        config.set_optim_cache_dir(str(tmp_path / "cache"))
        configs.append(config)

    (tmp_path / "cache").mkdir()
    for name in PADDLE_FORMATS:
        PADDLE.load(lock(program(folder, name)), CONTENT_KEY, configure=configure)
    assert [config.cpu_math_library_num_threads() for config in configs] == [2, 2]
    assert list((tmp_path / "cache").iterdir()) == [], "Paddle wrote the model"


def test_layer(folder: Path) -> None:
    paddle = import_paddle()
    layer = PADDLE.load(lock(program(folder, "m.json")), CONTENT_KEY, api="jit")
    assert isinstance(layer, paddle.nn.Layer)
    with paddle.no_grad():
        expected = paddle.jit.load(str(folder / "json" / "m"))(paddle.to_tensor(X)).numpy()
    assert PADDLE.infer(layer, {"x": X}, "cpu")["output"].tobytes() == expected.tobytes()
    assert PADDLE.signature(layer).inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert PADDLE.signature(layer).outputs[0].shape == (None, 3)


def test_layer_of_the_other_format(folder: Path) -> None:
    locked = lock(program(folder, "m.pdmodel"))
    error = assert_refused("framework_unsuitable", PADDLE.load, locked, CONTENT_KEY, api="jit")
    assert "api='inference'" in error.hints[0]


@both
def test_inputs(folder: Path, name: str) -> None:
    loaded = PADDLE.load(lock(program(folder, name)), CONTENT_KEY)
    (found,) = PADDLE.infer(loaded, {"x": X}, "cpu").values()
    (by_position,) = PADDLE.infer(loaded, {"arr_0": X}, "cpu").values()
    assert found.tobytes() == by_position.tobytes() == outputs(loaded).tobytes()
    signature = PADDLE.signature(loaded)
    assert signature.inputs == (TensorSpec("x"),)
    assert [each.name for each in signature.outputs] == loaded.get_output_names()
    error = assert_refused("usage", PADDLE.infer, loaded, {"images": X}, "cpu")
    assert error.hints == ("it has 'x'",)
    for wrong in (X.astype(np.float64), X[:, :3], np.array([["text"]]), np.array([None]), np.float32(1)):
        error = assert_refused("model_rejected", PADDLE.infer, loaded, {"x": wrong}, "cpu")
        assert error.message.startswith("Paddle could not run the model: ")
        assert error.__cause__ is not None


def test_options_that_do_not_fit(folder: Path) -> None:
    locked = lock(program(folder, "m.json"))
    assert_refused("usage", PADDLE.load, locked, CONTENT_KEY, api="fastdeploy")
    assert_refused("usage", PADDLE.load, locked, CONTENT_KEY, architecture="net.py:net")
    for device in ("gpu", "cuda:x", "cuda:-1", "", "CPU"):
        assert_refused("usage", PADDLE.load, locked, CONTENT_KEY, device=device)


def test_cuda_without_cuda(folder: Path) -> None:
    locked = lock(program(folder, "m.json"))
    for call in (lambda device: PADDLE.load(locked, CONTENT_KEY, device=device), on_command_line):
        error = assert_refused("framework_missing", call, "cuda:0")
        assert error.message == "this Paddle was built without CUDA"
        assert "paddlepaddle-gpu" in error.hints[0]


def on_command_line(device: str) -> dict[str, Any]:
    return PADDLE.run_options(device, None, False)


def test_gpus_that_paddle_finds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paddle = import_paddle()
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    assert PADDLE.run_options("cuda:1", None, False)["device"] == "cuda:1"
    error = assert_refused("usage", PADDLE.run_options, "cuda:2", None, False)
    assert error.hints == ("Paddle finds 2 GPUs here",)


# What Paddle does not accept.


@pytest.mark.parametrize(("name", "operator"), [("m.json", b"1.relu"), ("m.pdmodel", b"relu")])
def test_operator_that_does_not_exist(folder: Path, name: str, operator: bytes) -> None:
    """Program and parameters fit each other: only Paddle knows its operators."""
    model = program(folder, name)
    model.write_bytes(model.read_bytes().replace(operator, operator.replace(b"relu", b"rexu")))
    error = assert_refused("model_rejected", PADDLE.load, lock(model), CONTENT_KEY)
    assert error.message.startswith("Paddle does not accept the program: ")
    assert isinstance(error.__cause__, RuntimeError)
    assert name == "m.json" or "rexu" in error.message


def test_format_that_is_too_old(folder: Path) -> None:
    """Of a version that is too new Paddle says nothing."""
    model = program(folder, "m.json")
    text = model.read_text()
    model.write_text(text.replace('"magic":"pir","trainable":true,"version":', '"magic":"pir","trainable":true,"no":'))
    assert model.read_text() != text
    assert_refused("model_rejected", PADDLE.load, lock(model), CONTENT_KEY)


# Files of the old toolkit.


def test_file_of_the_old_toolkit(folder: Path) -> None:
    data = program(folder, "m.pdmodel").read_bytes()
    (folder / "m.crt").write_bytes(Fernet(content_key_base64(CONTENT_KEY)).encrypt(data))
    assert PADDLE.decrypt(folder / "m.crt", CONTENT_KEY) == data
    error = assert_refused("model_type_mismatch", PADDLE.load, folder / "m.crt", CONTENT_KEY)
    assert "decrypt()" in error.hints[0]
