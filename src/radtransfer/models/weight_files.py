"""Readers of pretrained weights in other programs' files; none executes anything of the file.

Each returns the tensors in the order of ``keras.Model.get_weights()`` of our network and in
Keras's layout (convolution kernels: height, width, input channels, output channels).
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from radtransfer.errors import WeightsError

Tensors = list[NDArray[np.float32]]


def _take(tensors: Mapping[str, NDArray[Any]], name: str, path: Path) -> NDArray[np.float32]:
    try:
        return np.ascontiguousarray(tensors[name], dtype=np.float32)
    except KeyError:
        raise WeightsError(f"{path} holds no tensor {name!r}") from None


def read_onnx(path: Path) -> dict[str, NDArray[Any]]:
    """Initialisers of an ONNX graph by name; the graph is parsed, not run.

    Raises
    ------
    WeightsError
        If the file is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, ValueError) as error:
        raise WeightsError(f"{path} is not an ONNX file: {error}") from error
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def read_graphdef(path: Path) -> dict[str, NDArray[Any]]:
    """Constants of a frozen TensorFlow graph by name; the graph is parsed, not run.

    Raises
    ------
    WeightsError
        If the file is not a ``GraphDef``.
    """
    from google.protobuf.message import DecodeError
    from tensorflow import make_ndarray
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise WeightsError(f"{path} is not a TensorFlow graph: {error}") from error
    return {node.name: make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"}


class _Storage:
    """Flat typed buffer that tensors of a PyTorch file are views of."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values: NDArray[Any] = np.empty(0, dtype)


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Callable[[], NDArray[Any]]:
    """Stand-in for ``torch._utils._rebuild_tensor_v2``.

    Deferred: in the old format the buffers follow the pickle that refers to them.
    """

    def build() -> NDArray[Any]:
        size = storage.dtype.itemsize
        extent = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        if min((offset, *shape, *stride), default=0) < 0 or (0 not in shape and extent > len(storage.values)):
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        view = np.lib.stride_tricks.as_strided(
            storage.values[offset:], shape, tuple(step * size for step in stride), writeable=False
        )
        return np.array(view)

    return build


class _StorageType:
    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that can make tensors and nothing else."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch", "FloatStorage"): _StorageType("<f4"),
        ("torch", "DoubleStorage"): _StorageType("<f8"),
        ("torch", "HalfStorage"): _StorageType("<f2"),
        ("torch", "LongStorage"): _StorageType("<i8"),
    }

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, size, *_ = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(size, int):
            raise pickle.UnpicklingError("not a tensor storage")
        return self.storages.setdefault(str(key), _Storage(storage_type.dtype))


def read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors of a PyTorch ``state_dict`` file by name, without PyTorch.

    Both formats are read: the zip archive, and the older row of pickles followed by raw buffers.
    The unpickler knows four storage types, ``OrderedDict`` and the tensor constructor; anything
    else in the file is refused, so that nothing can be executed.

    Raises
    ------
    WeightsError
        If the file holds anything but tensors, or is damaged.
    """
    try:
        state = _read_torch_zip(path) if zipfile.is_zipfile(path) else _read_torch_legacy(path)
        return {str(name): build() for name, build in state.items()}
    except (MemoryError, OverflowError) as error:  # of parts longer than any file
        raise WeightsError(f"{path} is not a PyTorch file of plain tensors: too long a part") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(f"{path} is not a PyTorch file of plain tensors: {error}") from error


def _read_torch_zip(path: Path) -> Mapping[str, Callable[[], NDArray[Any]]]:
    with zipfile.ZipFile(path) as archive:
        index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if index is None:
            raise ValueError("no data.pkl in the archive")
        with archive.open(index) as stream:
            unpickler = _TensorUnpickler(stream)
            state: Mapping[str, Callable[[], NDArray[Any]]] = unpickler.load()
        for key, storage in unpickler.storages.items():
            content = archive.read(f"{index.removesuffix('data.pkl')}data/{key}")
            storage.values = np.frombuffer(content, storage.dtype)
    return state


LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _read_torch_legacy(path: Path) -> Mapping[str, Callable[[], NDArray[Any]]]:
    with path.open("rb") as stream:
        if _TensorUnpickler(stream).load() != LEGACY_MAGIC:
            raise ValueError("no magic number")
        _TensorUnpickler(stream).load()  # protocol version
        _TensorUnpickler(stream).load()  # type sizes of the machine that wrote it
        unpickler = _TensorUnpickler(stream)
        state: Mapping[str, Callable[[], NDArray[Any]]] = unpickler.load()
        for key in _TensorUnpickler(stream).load():
            storage = unpickler.storages[str(key)]
            n_items = int.from_bytes(stream.read(8), "little")
            storage.values = np.frombuffer(stream.read(n_items * storage.dtype.itemsize), storage.dtype)
    return state


def vgg16_from_onnx(path: Path) -> Tensors:
    """Thirteen convolutions of VGG16 in an ONNX file exported from Keras.

    ONNX keeps kernels as (output, input, height, width).
    """
    tensors = read_onnx(path)
    found: Tensors = []
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for convolution in range(1, convolutions + 1):
            layer = f"functional_1/block{block}_conv{convolution}_1"
            kernel = _take(tensors, f"{layer}/convolution/ReadVariableOp:0", path)
            found += [
                np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)),
                _take(tensors, f"{layer}/Squeeze:0", path),
            ]
    return found


def efficientnet_lite0_from_torch(path: Path) -> Tensors:
    """EfficientNet-Lite0 without classifier in a PyTorch ``state_dict``.

    PyTorch keeps kernels as (output, input / groups, height, width).
    """
    tensors = read_torch(path)

    def convolution(name: str, *, depthwise: bool = False) -> Iterator[NDArray[np.float32]]:
        kernel = _take(tensors, f"{name}.weight", path)
        yield np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))

    def normalisation(name: str) -> Iterator[NDArray[np.float32]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield _take(tensors, f"{name}.{part}", path)

    found: Tensors = [*convolution("_conv_stem"), *normalisation("_bn0")]
    for number in range(16):
        block = f"_blocks.{number}"
        if number > 0:  # the first block does not expand
            found += [*convolution(f"{block}._expand_conv"), *normalisation(f"{block}._bn0")]
        found += [
            *convolution(f"{block}._depthwise_conv", depthwise=True),
            *normalisation(f"{block}._bn1"),
            *convolution(f"{block}._project_conv"),
            *normalisation(f"{block}._bn2"),
        ]
    return [*found, *convolution("_conv_head"), *normalisation("_bn1")]


def mobilenet_from_graphdef(path: Path) -> Tensors:
    """MobileNet v1 (width 1.0) without classifier in a frozen TF-slim graph."""
    tensors = read_graphdef(path)

    def layer(name: str, kernel: str) -> Iterator[NDArray[np.float32]]:
        yield _take(tensors, f"MobilenetV1/{name}/{kernel}", path)
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            yield _take(tensors, f"MobilenetV1/{name}/BatchNorm/{part}", path)

    found: Tensors = [*layer("Conv2d_0", "weights")]
    for number in range(1, 14):
        found += layer(f"Conv2d_{number}_depthwise", "depthwise_weights")
        found += layer(f"Conv2d_{number}_pointwise", "weights")
    return found


READERS: dict[tuple[str, str], Callable[[Path], Tensors]] = {
    ("vgg16", ".onnx"): vgg16_from_onnx,
    ("efficientnet_lite0", ".pth"): efficientnet_lite0_from_torch,
    ("mobilenet", ".pb"): mobilenet_from_graphdef,
}
"""Reader by backbone and file suffix."""
