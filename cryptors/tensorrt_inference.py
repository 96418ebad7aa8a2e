"""Running a TensorRT engine on named arrays, for `weightlock run`, and what it says of its inputs and outputs."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cryptors.errors import ModelRejectedError
from cryptors.frameworks import first_line, import_framework
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.tensorrt_device import checked
from cryptors.tensorrt_runtime import origin
from licensing.errors import UsageError

__all__ = ["engine_signature", "run_engine"]

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "DOUBLE": "float64"}
"""TensorRT's names of types that are not NumPy's in capitals."""
_WITHOUT_NUMPY = ("bfloat16", "fp8", "fp4", "int4", "e8m0")


def engine_signature(engine: Any) -> Signature:
    """Returns the inputs and outputs of an engine; it does not keep names of dimensions that vary."""
    specs: dict[str, list[TensorSpec]] = {"INPUT": [], "OUTPUT": []}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = engine.get_tensor_dtype(name).name
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        spec = TensorSpec(name, _DTYPES.get(dtype, dtype.lower()), shape)
        specs[engine.get_tensor_mode(name).name].append(spec)
    return Signature(tuple(specs["INPUT"]), tuple(specs["OUTPUT"]))


def run_engine(engine: Any, inputs: dict[str, Any], driver: Any) -> dict[str, Any]:
    """Computes on the GPU that was chosen, and returns NumPy arrays.

    Args:
        engine: one that `deserialize` returned.
        inputs: NumPy arrays by name.
        driver: what `use_gpu` returned.

    Raises:
        UsageError: the inputs are not those that the engine wants.
        ModelRejectedError: TensorRT or CUDA failed.
    """
    numpy, logger = import_framework("numpy", "tensorrt"), origin(engine).logger
    signature = engine_signature(engine)
    bound = bind_inputs(inputs, [spec.name for spec in signature.inputs])
    for spec in signature.inputs + signature.outputs:
        if spec.dtype in _WITHOUT_NUMPY:
            raise UsageError(f"{spec.name!r} is {spec.dtype}, which an .npz file cannot hold")
    logger.errors.clear()
    try:
        context = engine.create_execution_context()
        with _Memory(driver) as memory, _stream(driver) as stream:
            kept = [_set_input(numpy, engine, context, memory, spec, bound[spec.name]) for spec in signature.inputs]
            outputs = [_Output(numpy, engine, context, memory, spec) for spec in signature.outputs]
            if not context.execute_async_v3(int(stream)):
                raise RuntimeError("it does not say why")
            checked(driver.cuStreamSynchronize(stream))
            del kept  # Until now, TensorRT could read inputs that stay in the memory of the host.
            return {spec.name: output.array() for spec, output in zip(signature.outputs, outputs, strict=True)}
    except UsageError:
        raise
    except Exception as cause:
        why = (*logger.errors, first_line(cause))[0]
        raise ModelRejectedError(f"TensorRT could not run the model: {why}") from cause


class _Memory:
    """Memory of the GPU that is freed when the context ends."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._pointers: list[Any] = []

    def allocate(self, size: int) -> int:
        """Returns the address; empty arrays have one as well, which TensorRT wants."""
        self._pointers.append(checked(self._driver.cuMemAlloc(max(size, 1))))
        return int(self._pointers[-1])

    def upload(self, array: Any) -> int:
        address = self.allocate(array.nbytes)
        if array.nbytes:
            checked(self._driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))
        return address

    def download(self, address: int, array: Any) -> None:
        if array.nbytes:
            checked(self._driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def __enter__(self) -> "_Memory":
        return self

    def __exit__(self, *error: object) -> None:
        while self._pointers:
            self._driver.cuMemFree(self._pointers.pop())


@contextlib.contextmanager
def _stream(driver: Any) -> Iterator[Any]:
    """Gives a stream that waits for no other; on CUDA's default one, TensorRT would be slower."""
    stream = checked(driver.cuStreamCreate(int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
    try:
        yield stream
    finally:
        driver.cuStreamDestroy(stream)


def _set_input(numpy: Any, engine: Any, context: Any, memory: _Memory, spec: TensorSpec, given: Any) -> Any:
    """Tells TensorRT the shape and the place of an input, and returns the array, which must outlive the run."""
    if given.dtype != spec.dtype:
        raise UsageError(f"the input {spec.name!r} is {given.dtype}, and the model wants {spec.dtype}")
    array = numpy.ascontiguousarray(given).reshape(given.shape)  # The former makes vectors of scalars.
    if not context.set_input_shape(spec.name, array.shape):
        raise UsageError(
            f"the model does not take the shape {list(array.shape)} for its input {spec.name!r}",
            f"it takes {_shapes(engine, spec)}",
        )
    on_host = engine.get_tensor_location(spec.name).name == "HOST"
    context.set_tensor_address(spec.name, array.ctypes.data if on_host else memory.upload(array))
    return array


def _shapes(engine: Any, spec: TensorSpec) -> str:
    assert spec.shape is not None
    if None not in spec.shape:
        return str(list(spec.shape))
    smallest, _, largest = engine.get_tensor_profile_shape(spec.name, 0)
    return f"{list(smallest)} to {list(largest)}"


class _Output:
    """Where an output goes. Of one whose shape depends on the data, TensorRT tells it only as it computes."""

    def __init__(self, numpy: Any, engine: Any, context: Any, memory: _Memory, spec: TensorSpec) -> None:
        self._numpy, self._memory, self._dtype = numpy, memory, spec.dtype
        self._on_host = engine.get_tensor_location(spec.name).name == "HOST"
        self._array: Any = None
        self._allocator: Any = None
        shape = tuple(context.get_tensor_shape(spec.name))
        if any(size < 0 for size in shape):
            self._allocator = _new_allocator(origin(engine).module, memory)
            context.set_output_allocator(spec.name, self._allocator)
            return
        self._array = numpy.empty(shape, spec.dtype)
        self._address = self._array.ctypes.data if self._on_host else memory.allocate(self._array.nbytes)
        context.set_tensor_address(spec.name, self._address)

    def array(self) -> Any:
        """Returns what was computed."""
        if self._allocator is not None:
            self._array = self._numpy.empty(self._allocator.shape, self._dtype)
            self._address = self._allocator.address
        if not self._on_host:
            self._memory.download(self._address, self._array)
        return self._array


def _new_allocator(module: Any, memory: _Memory) -> Any:
    class OutputAllocator(module.IOutputAllocator):  # type: ignore[misc]
        """Gives memory when TensorRT knows how much an output takes."""

        def __init__(self) -> None:
            module.IOutputAllocator.__init__(self)
            self.address = 0
            self.shape: tuple[int, ...] = ()

        def reallocate_output(self, tensor_name: str, current: int, size: int, alignment: int) -> int:
            self.address = memory.allocate(size)
            return self.address

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

    return OutputAllocator()
