"""Readers of other programs' weight files, on files made here, honest and hostile."""

from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from radtransfer.errors import WeightsError
from radtransfer.models import weight_files
from radtransfer.models.efficientnet_lite import STAGES


class _TorchPickler(pickle.Pickler):
    """Writes what PyTorch writes: storages by reference, tensors by a call of their constructor."""

    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, _FakeStorage) else None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _FakeTensor):
            rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2  # type: ignore[attr-defined]
            storage, offset, shape, stride = value.parts
            return rebuild, (storage, offset, shape, stride, False, collections.OrderedDict())
        return NotImplemented


class _FakeStorage:
    def __init__(self, key: str, values: NDArray[Any]) -> None:
        self.values = values
        kind = {"f4": "FloatStorage", "i8": "LongStorage"}[values.dtype.str[1:]]
        self.reference = ("storage", getattr(sys.modules["torch"], kind), key, "cpu", values.size)


class _FakeTensor:
    def __init__(self, storage: _FakeStorage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]):
        self.parts = (storage, offset, shape, stride)


@pytest.fixture
def torch_names() -> Iterator[None]:
    """Stand-ins under PyTorch's names, so that pickle can refer to them while writing."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    sys.modules.update({"torch": torch, "torch._utils": utils})
    yield
    del sys.modules["torch"], sys.modules["torch._utils"]


def dump(value: Any) -> bytes:
    stream = io.BytesIO()
    _TorchPickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def write_torch(path: Path, state: dict[str, _FakeTensor], *, legacy: bool) -> Path:
    storages = {tensor.parts[0].reference[2]: tensor.parts[0] for tensor in state.values()}
    content = dump(collections.OrderedDict(state))
    if legacy:
        head = [weight_files.LEGACY_MAGIC, 1001, {"little_endian": True}]
        buffers = b"".join(
            s.values.size.to_bytes(8, "little") + s.values.tobytes() for s in storages.values()
        )
        path.write_bytes(b"".join(map(dump, head)) + content + dump(list(storages)) + buffers)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", content)
            for key, storage in storages.items():
                archive.writestr(f"model/data/{key}", storage.values.tobytes())
    return path


def tensor(key: str, values: NDArray[Any]) -> _FakeTensor:
    strides = tuple(step // values.itemsize for step in values.strides)
    return _FakeTensor(_FakeStorage(key, values.ravel()), 0, values.shape, strides)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.usefixtures("torch_names")
def test_tensors_come_back_from_both_formats(tmp_path: Path, legacy: bool) -> None:
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    shared = _FakeStorage("1", np.arange(10, dtype=np.float32))
    state = {
        "kernel": tensor("0", kernel),
        "tail": _FakeTensor(shared, 7, (3,), (1,)),
        "columns": _FakeTensor(shared, 1, (2, 3), (1, 2)),  # a transposed view of one buffer
        "steps": tensor("2", np.array(5, dtype=np.int64)),
    }
    found = weight_files.read_torch(write_torch(tmp_path / "w.pth", state, legacy=legacy))
    np.testing.assert_array_equal(found["kernel"], kernel)
    np.testing.assert_array_equal(found["tail"], [7, 8, 9])
    np.testing.assert_array_equal(found["columns"], [[1, 3, 5], [2, 4, 6]])
    assert found["steps"] == 5
    assert found["steps"].dtype == np.int64


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.usefixtures("torch_names")
def test_a_file_that_would_run_something_is_refused_unrun(tmp_path: Path, legacy: bool) -> None:
    marker = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(marker),)

    state: Any = {"kernel": tensor("0", np.zeros(2, np.float32)), "attack": Attack()}
    content = dump(collections.OrderedDict(state))
    path = tmp_path / "w.pth"
    if legacy:
        path.write_bytes(b"".join(map(dump, [weight_files.LEGACY_MAGIC, 1001, {}])) + content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", content)
    with pytest.raises(WeightsError, match=r"mkdir is not allowed"):
        weight_files.read_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(9, (2,), (1,)), (0, (11,), (1,)), (0, (2, 2), (9, 1)), (-1, (1,), (1,)), (0, (2,), (-1,))],
)
@pytest.mark.usefixtures("torch_names")
def test_a_tensor_beyond_its_buffer_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    storage = _FakeStorage("0", np.arange(10, dtype=np.float32))
    path = write_torch(
        tmp_path / "w.pth", {"kernel": _FakeTensor(storage, offset, shape, stride)}, legacy=False
    )
    with pytest.raises(WeightsError, match="beyond its storage"):
        weight_files.read_torch(path)


@pytest.mark.usefixtures("torch_names")
def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    state = {"kernel": tensor("0", np.arange(8, dtype=np.float32))}
    whole = write_torch(tmp_path / "w.pth", state, legacy=True).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            weight_files.read_torch(cut)


@given(content=st.binary(max_size=64))
@example(content=b"\x95\x00\x00\x00\x00\x00\x00\x00\x80")  # frames of 8 EiB and of 64 PiB
@example(content=b"\x95\x00\x00\x00\x00\x00\x00\x00\x01")
@settings(max_examples=50)
def test_noise_is_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="plain tensors"):
        weight_files.read_torch(path)


def test_vgg16_kernels_are_turned_from_onnx_to_keras(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {}
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for convolution in range(1, convolutions + 1):
            layer = f"functional_1/block{block}_conv{convolution}_1"
            tensors[f"{layer}/convolution/ReadVariableOp:0"] = rng.normal(size=(4, 2, 3, 3)).astype("f4")
            tensors[f"{layer}/Squeeze:0"] = np.full(4, 10 * block + convolution, dtype=np.float32)
    graph = onnx.helper.make_graph(
        [], "g", [], [], [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    )
    path = tmp_path / "w.onnx"
    onnx.save(onnx.helper.make_model(graph), path)

    found = weight_files.vgg16_from_onnx(path)
    assert len(found) == 26
    first = tensors["functional_1/block1_conv1_1/convolution/ReadVariableOp:0"]
    assert found[0].shape == (3, 3, 2, 4)
    assert found[0][2, 1, 0, 3] == first[3, 0, 2, 1]
    assert [int(bias[0]) for bias in found[1::2]] == [11, 12, 21, 22, 31, 32, 33, 41, 42, 43, 51, 52, 53]

    graph.initializer.pop()
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(WeightsError, match="holds no tensor"):
        weight_files.vgg16_from_onnx(path)


def test_efficientnet_lite0_layers_come_in_order(tmp_path: Path, torch_names: None) -> None:
    arrays: dict[str, NDArray[Any]] = {}

    def convolution(name: str, out: int, inside: int, kernel: int) -> None:
        arrays[f"{name}.weight"] = np.zeros((out, inside, kernel, kernel), dtype=np.float32)

    def normalisation(name: str, channels: int) -> None:
        for number, part in enumerate(("weight", "bias", "running_mean", "running_var")):
            arrays[f"{name}.{part}"] = np.full(channels, number, dtype=np.float32)
        arrays[f"{name}.num_batches_tracked"] = np.array(1, dtype=np.int64)

    convolution("_conv_stem", 32, 3, 3)
    normalisation("_bn0", 32)
    number, channels = 0, 32
    for expansion, filters, repeats, _, kernel in STAGES:
        for _ in range(repeats):
            name, wide = f"_blocks.{number}", channels * expansion
            if expansion != 1:
                convolution(f"{name}._expand_conv", wide, channels, 1)
                normalisation(f"{name}._bn0", wide)
            convolution(f"{name}._depthwise_conv", wide, 1, kernel)
            normalisation(f"{name}._bn1", wide)
            convolution(f"{name}._project_conv", filters, wide, 1)
            normalisation(f"{name}._bn2", filters)
            number, channels = number + 1, filters
    convolution("_conv_head", 1280, 320, 1)
    normalisation("_bn1", 1280)

    state = {name: tensor(str(i), values) for i, (name, values) in enumerate(arrays.items())}
    path = write_torch(tmp_path / "w.pth", state, legacy=True)
    found = weight_files.efficientnet_lite0_from_torch(path)
    assert sum(array.size for array in found) == 3_413_024
    assert found[0].shape == (3, 3, 3, 32)
    assert found[5].shape == (3, 3, 32, 1)  # the first depthwise kernel: no expansion before it
    assert [int(array[0]) for array in found[-4:]] == [0, 1, 2, 3]


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(WeightsError, match="not an ONNX file"):
        weight_files.read_onnx(path)
