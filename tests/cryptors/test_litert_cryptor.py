"""LiteRT: interpreters that need nothing but themselves, their inputs, and models that LiteRT does not take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from cryptors import CryptorFactory, EncryptOptions, TensorSpec
from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from tests.contract.case import inputs
from tests.contract.cases_litert import litert_outputs, make_litert, run_litert
from tests.cryptors.containers import CONTENT_KEY
from tests.refusals import assert_refused

pytestmark = pytest.mark.usefixtures("memory_only")

LITERT = CryptorFactory.instance("litert")
WIDTH = 8


def lock(model: Path) -> Path:
    locked = model.with_name("model.locked")
    LITERT.encrypt(model, CONTENT_KEY, locked, EncryptOptions(replace=True))
    return locked


def load(model: Path, **options: Any) -> Any:
    return LITERT.load(lock(model), CONTENT_KEY, **options)


# Interpreters.


def test_bytes_come_back(tmp_path: Path) -> None:
    model = make_litert(tmp_path, WIDTH)
    assert detect_type(model) is ModelType.MODEL_LITERT
    plaintext = LITERT.decrypt(lock(model), CONTENT_KEY)
    assert type(plaintext) is bytes
    assert plaintext == model.read_bytes()


def test_tensors_are_allocated(tmp_path: Path) -> None:
    loaded = load(make_litert(tmp_path, WIDTH))
    assert isinstance(loaded, Interpreter)
    loaded.invoke()


def test_options_of_the_interpreter(tmp_path: Path) -> None:
    model = make_litert(tmp_path, WIDTH)
    plain = Interpreter(
        str(model), num_threads=2, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    found = load(model, num_threads=2, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    assert litert_outputs(found)["y"].tobytes() == litert_outputs(plain)["y"].tobytes()
    assert len(found._get_ops_details()) == 2, "no delegate took the two layers together"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", "CPU", ""])
def test_devices(tmp_path: Path, device: str) -> None:
    error = assert_refused("usage", load, make_litert(tmp_path, WIDTH), device=device)
    assert "delegates" in error.hints[0]
    assert_refused("usage", LITERT.run_options, device, None, False)


# Inputs and outputs.


def test_signature_and_inputs(tmp_path: Path) -> None:
    loaded = load(make_litert(tmp_path, WIDTH))
    signature = LITERT.signature(loaded)
    assert signature.inputs == (TensorSpec("x", "float32", (None, WIDTH)),)
    assert signature.outputs == (TensorSpec("y", "float32", (None, 3)),)
    for rows in (1, 5, 2):
        x = np.random.default_rng(rows).standard_normal((rows, WIDTH)).astype(np.float32)
        found = LITERT.infer(loaded, {"arr_0": x}, "cpu")["y"]
        assert found.shape == (rows, 3)
        assert found.tobytes() == LITERT.infer(loaded, {"x": x}, "cpu")["y"].tobytes()
    assert_refused("usage", LITERT.infer, loaded, {"z": x}, "cpu")


@pytest.mark.parametrize("shape", [(2, WIDTH + 1), (WIDTH,), (1, 2, WIDTH), ()])
def test_shape_that_is_not_the_input_s(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """LiteRT itself answers something to most of these."""
    loaded = load(make_litert(tmp_path, WIDTH))
    error = assert_refused("usage", LITERT.infer, loaded, {"x": np.ones(shape, np.float32)}, "cpu")
    assert "(-1, 8)" in error.message


def test_type_that_is_not_the_input_s(tmp_path: Path) -> None:
    loaded = load(make_litert(tmp_path, WIDTH))
    error = assert_refused("model_rejected", LITERT.infer, loaded, {"x": np.ones((2, WIDTH))}, "cpu")
    assert "FLOAT64" in error.message


def test_graph_without_a_signature(tmp_path: Path) -> None:
    """As older converters wrote them: inputs go by the names of tensors, without the converter's decorations."""
    model = make_litert(tmp_path, WIDTH, signature=None)
    loaded = load(model)
    assert [spec.name for spec in LITERT.signature(loaded).inputs] == ["x"]
    assert [spec.name for spec in LITERT.signature(loaded).outputs] == ["PartitionedCall"]
    (tmp_path / "signed").mkdir()
    expected = run_litert(make_litert(tmp_path / "signed", 1))
    found = LITERT.infer(load(make_litert(tmp_path, 1, signature=None)), inputs(1), "cpu")
    assert found["PartitionedCall"].tobytes() == expected["y"].tobytes()


def test_signature_of_another_name(tmp_path: Path) -> None:
    loaded = load(make_litert(tmp_path, WIDTH, signature="predict"))
    assert [spec.name for spec in LITERT.signature(loaded).outputs] == ["y"]


# What LiteRT does not accept.


def test_operator_of_somebody_else(tmp_path: Path) -> None:
    locked = lock(make_litert(tmp_path, WIDTH, custom="NoSuchOperator"))
    error = assert_refused("model_rejected", LITERT.load, locked, CONTENT_KEY)
    assert error.message == "LiteRT lacks the operator 'NoSuchOperator' that the model uses"
    assert isinstance(error.__cause__, RuntimeError)


def test_operator_of_tensorflow(tmp_path: Path) -> None:
    error = assert_refused("model_rejected", load, make_litert(tmp_path, WIDTH, custom="FlexMatrixInverse"))
    assert "'FlexMatrixInverse'" in error.message


def test_truncated_models(tmp_path: Path) -> None:
    """LiteRT verifies a flatbuffer before it uses it; of what is cut short it refuses every length."""
    model = make_litert(tmp_path, WIDTH)
    data = model.read_bytes()
    for length in (*range(8, len(data), 97), len(data) - 1):
        model.write_bytes(data[:length])
        error = assert_refused("model_rejected", load, model)
        assert "not a valid Flatbuffer" in error.message
        assert isinstance(error.__cause__, ValueError)


def test_files_of_other_types(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL2" + bytes(100))
    assert_refused("model_type_mismatch", lock, tmp_path / "m.tflite")
    assert_refused("model_type_mismatch", lock, tmp_path)


# Models that TensorFlow's converter made.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_models_of_the_converter(tmp_path: Path) -> None:
    """A signature of two inputs, and a quantised model, whose inputs and outputs stay integers."""
    import tensorflow

    spec = tensorflow.TensorSpec([None, 4], tensorflow.float32)
    weight = tensorflow.constant(np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32))

    @tensorflow.function(input_signature=[spec, spec])  # type: ignore[untyped-decorator]
    def two(b: Any, a: Any) -> dict[str, Any]:
        return {"product": tensorflow.nn.relu(a @ weight), "difference": b - a}

    module = tensorflow.Module()
    module.two = two
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([two.get_concrete_function()], module)
    (tmp_path / "two.tflite").write_bytes(converter.convert())
    loaded = load(tmp_path / "two.tflite")
    assert {each.name for each in LITERT.signature(loaded).inputs} == {"a", "b"}
    a, b = np.full((3, 4), 2, np.float32), np.ones((3, 4), np.float32)
    found = LITERT.infer(loaded, {"b": b, "a": a}, "cpu")
    assert np.array_equal(found["difference"], b - a)
    assert np.allclose(found["product"], np.maximum(a @ weight.numpy(), 0), rtol=1e-5)

    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([b[:1] * number, a[:1] * number] for number in range(5))
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    (tmp_path / "quantised.tflite").write_bytes(converter.convert())
    loaded = load(tmp_path / "quantised.tflite")
    assert {each.dtype for each in LITERT.signature(loaded).inputs} == {"int8"}
    whole = {"a": np.arange(12, dtype=np.int8).reshape(3, 4), "b": np.ones((3, 4), np.int8)}
    found = LITERT.infer(loaded, whole, "cpu")
    expected = Interpreter(str(tmp_path / "quantised.tflite")).get_signature_runner()(**whole)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
