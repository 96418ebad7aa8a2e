"""TensorRT: lock a plan, get its bytes back, and, where there is a GPU, run it from memory.

    python examples/tensorrt_model.py

TensorRT for RTX (pip install tensorrt-rtx) builds a plan without a GPU, TensorRT with one; running one needs a GPU.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy
from onnx import TensorProto, helper, numpy_helper

from cryptors import CryptorFactory, FrameworkMissingError, ModelType
from licensing import new_content_key

try:
    import tensorrt_rtx as tensorrt
except ImportError:
    import tensorrt


def build_plan() -> bytes:
    """Returns the plan of a model that multiplies by a matrix."""
    weight = numpy_helper.from_array(numpy.arange(8, dtype=numpy.float32).reshape(4, 2), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "example",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    assert tensorrt.OnnxParser(network, logger).parse(model.SerializeToString())
    return bytes(builder.build_serialized_network(network, builder.create_builder_config()))


def run_with_cuda_bindings(engine: Any, x: Any) -> Any:
    """Runs an `ICudaEngine` with buffers from cuda-bindings, on the GPU that `load` made the current one."""
    from cuda.bindings import driver

    def checked(result: Any) -> Any:
        assert result[0] == driver.CUresult.CUDA_SUCCESS, result[0]
        return result[1] if len(result) > 1 else None

    y = numpy.empty((1, 2), numpy.float32)
    stream = checked(driver.cuStreamCreate(0))
    x_on_gpu, y_on_gpu = checked(driver.cuMemAlloc(x.nbytes)), checked(driver.cuMemAlloc(y.nbytes))
    checked(driver.cuMemcpyHtoD(x_on_gpu, x.ctypes.data, x.nbytes))
    context = engine.create_execution_context()
    context.set_tensor_address("x", int(x_on_gpu))
    context.set_tensor_address("y", int(y_on_gpu))
    assert context.execute_async_v3(int(stream))
    checked(driver.cuStreamSynchronize(stream))
    checked(driver.cuMemcpyDtoH(y.ctypes.data, y_on_gpu, y.nbytes))
    checked(driver.cuMemFree(x_on_gpu))
    checked(driver.cuMemFree(y_on_gpu))
    checked(driver.cuStreamDestroy(stream))
    return y


def run_with_pycuda(engine: Any, x: Any) -> Any:
    """Does the same with pycuda, where that is what is installed.

    Import `pycuda.autoinit` before `load`: the engine then belongs to pycuda's context.
    """
    import pycuda.driver as cuda

    y, stream = numpy.empty((1, 2), numpy.float32), cuda.Stream()
    x_on_gpu, y_on_gpu = cuda.mem_alloc(x.nbytes), cuda.mem_alloc(y.nbytes)
    cuda.memcpy_htod_async(x_on_gpu, x, stream)
    context = engine.create_execution_context()
    context.set_tensor_address("x", int(x_on_gpu))
    context.set_tensor_address("y", int(y_on_gpu))
    assert context.execute_async_v3(stream.handle)
    cuda.memcpy_dtoh_async(y, y_on_gpu, stream)
    stream.synchronize()
    return y


def main(folder: Path) -> None:
    plan, locked = folder / "network.engine", folder / "network.engine.locked"
    plan.write_bytes(build_plan())

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TENSORRT)
    cryptor.encrypt(model=plan, crypt_key=content_key, crypted_model=locked)

    # `decrypt` gives the plan's bytes; `load` an ICudaEngine, which TensorRT reads from the model piece by piece.
    assert cryptor.decrypt(locked, crypt_key=content_key) == plan.read_bytes()
    print(f"the locked model gives the same plan: {plan.stat().st_size} bytes")
    try:
        engine = cryptor.load(locked, crypt_key=content_key, device="cuda:0")
    except FrameworkMissingError as missing:
        print("without a GPU, this example ends here:", missing)
        return
    output = run_with_cuda_bindings(engine, numpy.ones((1, 4), numpy.float32))
    assert numpy.allclose(output, [[12.0, 16.0]], rtol=1e-2)
    print("the engine gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
