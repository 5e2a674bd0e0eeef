"""Pixels of DICOM files, by values that can be checked by hand and against pydicom's own functions."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import item, make_dicom, write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmwrite
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from radtransfer.data import dicom
from radtransfer.data.dicom import apply_window, read_frame, read_header
from radtransfer.data.images import DecodeError

RAMP8 = np.array([[0, 1, 2], [100, 200, 255]], dtype=np.uint8)
RAMP16 = np.array([[0, 500, 1000], [1500, 2000, 4000]], dtype=np.uint16)


def shown(path: Path, pixels: np.ndarray, **attributes: Any) -> list[list[int]]:
    frame = attributes.pop("frame", 0)
    window = attributes.pop("window", None)
    image = read_frame(write_dicom(path / "i.dcm", pixels, **attributes), frame=frame, window=window)
    assert image.dtype == np.uint8
    return image.tolist()


@pytest.mark.parametrize(
    ("pixels", "attributes", "expected"),
    [
        # eight bits without window: as they are
        (RAMP8, {}, RAMP8.tolist()),
        (RAMP8, {"PhotometricInterpretation": "MONOCHROME1"}, (255 - RAMP8).tolist()),
        # five bits stored: 31 is white
        (np.array([[0, 31]], dtype=np.uint8), {"BitsStored": 5, "HighBit": 4}, [[0, 255]]),
        # sixteen bits without window: least to greatest
        (RAMP16, {}, [[0, 32, 64], [96, 128, 255]]),
        (RAMP16.astype(np.int16) - 2000, {}, [[0, 32, 64], [96, 128, 255]]),
        (np.full((2, 2), 7, dtype=np.uint16), {}, [[0, 0], [0, 0]]),
        # rescale to HU, then a window from -1000 to 1000 HU
        (
            RAMP16,
            {
                "RescaleSlope": 1,
                "RescaleIntercept": -1000,
                "WindowCenter": 0,
                "WindowWidth": 2000,
                "VOILUTFunction": "LINEAR_EXACT",
            },
            [[0, 64, 128], [191, 255, 255]],
        ),
        # the first of two windows; LINEAR is half a unit lower and one narrower: 0 + 1 values of 2 are black
        (
            np.array([[0, 1, 2, 3, 4]], dtype=np.uint16),
            {"WindowCenter": [2, 300], "WindowWidth": [4, 5]},
            [[0, 85, 170, 255, 255]],
        ),
        # values equal to the padding are black and do not count for the range
        (
            np.array([[-2000, 0, 100]], dtype=np.int16),
            {"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"},
            [[0, 255, 0]],
        ),
        # colour becomes luma: 0.299 R + 0.587 G + 0.114 B
        (
            np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8),
            {},
            [[76, 150, 29]],
        ),
    ],
)
def test_levels(
    tmp_path: Path, pixels: np.ndarray, attributes: dict[str, Any], expected: list[list[int]]
) -> None:
    assert shown(tmp_path, pixels, **attributes) == expected


def test_a_window_of_the_caller_is_in_rescaled_units(tmp_path: Path) -> None:
    levels = shown(
        tmp_path,
        np.array([[24, 1024, 2024]], dtype=np.uint16),
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=5000,
        WindowWidth=1,
        window=(0, 2000),
    )
    assert levels == [[0, 128, 255]]


def words(*values: int) -> bytes:
    return np.array(values, dtype="<u2").tobytes()


def test_lookup_tables(tmp_path: Path) -> None:
    """A modality table maps 0, 1, 2 to 10, 20, 30; a VOI table maps 10 to 30 from white to black."""
    modality = item(LUTDescriptor=[3, 0, 16], ModalityLUTType="US", LUTData=words(10, 20, 30))
    voi = item(LUTDescriptor=[3, 10, 8], LUTData=words(255, 100, 0))
    ramp = np.array([[0, 1, 2]], dtype=np.uint16)
    assert shown(tmp_path, ramp, ModalityLUTSequence=[modality]) == [[0, 128, 255]]
    wide = item(LUTDescriptor=[21, 10, 8], LUTData=words(*[255] * 10, 100, *[0] * 10))
    assert shown(tmp_path, ramp, ModalityLUTSequence=[modality], VOILUTSequence=[wide]) == [[255, 100, 0]]
    # the table goes before a window
    levels = shown(tmp_path, ramp + 10, VOILUTSequence=[voi], WindowCenter=0, WindowWidth=2)
    assert levels == [[255, 100, 0]]


def test_palette(tmp_path: Path) -> None:
    table = np.array([0, 255, 0, 100], dtype=np.uint8).tobytes()
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        attributes[f"{colour}PaletteColorLookupTableData"] = table
    levels = shown(tmp_path, np.array([[0, 1, 3]], dtype=np.uint8), **attributes)
    assert levels == [[0, 255, 100]]


def test_frames(tmp_path: Path) -> None:
    frames = np.stack([RAMP8, RAMP8[::-1], 255 - RAMP8])
    path = write_dicom(tmp_path / "m.dcm", frames, frames=True)
    assert read_header(path).n_frames == 3
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(read_frame(path, frame=number), frame)
    for number in (3, -1):
        with pytest.raises(DecodeError, match="has no frame"):
            read_frame(path, frame=number)


def test_functional_groups(tmp_path: Path) -> None:
    """Each frame its own window and position, one rescale for all."""
    shared = item(
        PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1000, RescaleType="HU")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    own = [
        item(
            FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=2, VOILUTFunction="LINEAR_EXACT")],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, place])],
        )
        for center, place in ((0, 5), (10, 2.5))
    ]
    path = write_dicom(
        tmp_path / "m.dcm",
        np.array([[[999, 1000, 1001]], [[1009, 1010, 1011]]], dtype=np.uint16),
        frames=True,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=own,
    )
    assert read_frame(path, frame=0).tolist() == read_frame(path, frame=1).tolist() == [[0, 128, 255]]
    assert read_header(path).positions == (5, 2.5)


@given(
    center=st.floats(-3000, 3000),
    width=st.floats(1.5, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    levels=st.lists(st.integers(-2000, 4000), min_size=1, max_size=20),
)
@settings(max_examples=50)
def test_windows_are_those_of_pydicom(center: float, width: float, function: str, levels: list[int]) -> None:
    dataset = make_dicom(np.zeros((1, 1), dtype=np.uint16))
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function
    reference = apply_windowing(np.array(levels), dataset) / (2**16 - 1)
    center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    np.testing.assert_allclose(
        apply_window(np.array(levels), center, width, function=function), reference, atol=1e-9
    )


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [(0, 0, "LINEAR_EXACT"), (0, -1, "SIGMOID"), (0, 0.5, "LINEAR"), (np.nan, 1, "LINEAR"), (0, 1, "CUBIC")],
)
def test_windows_that_show_nothing_are_refused(center: float, width: float, function: str) -> None:
    with pytest.raises(ValueError, match=r"shows nothing|unknown"):
        apply_window(np.zeros(3), center, width, function=function)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, ExplicitVRBigEndian]
)
def test_native_transfer_syntaxes(tmp_path: Path, syntax: UID) -> None:
    dataset = make_dicom(RAMP16)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = RAMP16.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "i.dcm"
    big = {"implicit_vr": False, "little_endian": False, "force_encoding": True}
    dcmwrite(path, dataset, **(big if syntax == ExplicitVRBigEndian else {"enforce_file_format": True}))
    assert read_frame(path).tolist() == [[0, 32, 64], [96, 128, 255]]


@pytest.mark.parametrize(("syntax", "kind"), [(JPEGBaseline8Bit, "JPEG"), (JPEG2000Lossless, "JPEG2000")])
@pytest.mark.parametrize("colour", [False, True])
def test_compressed_images_are_what_pillow_decodes(
    tmp_path: Path, syntax: UID, kind: str, colour: bool
) -> None:
    rows, columns = np.mgrid[0:32, 0:48]
    pixels = (4 * rows + 2 * columns).astype(np.uint8)
    if colour:
        pixels = np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)
    packed = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"irreversible": False, "no_jp2": True}
    Image.fromarray(pixels).save(packed, kind, **options)
    dataset = make_dicom(pixels)
    dataset.PixelData = encapsulate([packed.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    if colour:
        dataset.PhotometricInterpretation = "YBR_FULL" if kind == "JPEG" else "RGB"
    path = tmp_path / "i.dcm"
    dataset.save_as(path, enforce_file_format=True)
    expected = np.asarray(Image.open(io.BytesIO(packed.getvalue())).convert("L")).astype(int)
    assert np.abs(read_frame(path).astype(int) - expected).max() <= (2 if colour else 0)


@pytest.mark.parametrize(
    ("syntax", "told"),
    [
        (JPEGLosslessSV1, "JPEG Lossless"),
        (JPEGLSLossless, "JPEG-LS"),
        (UID("1.2.840.10008.1.2.4.102"), "MPEG-4"),
        (UID("1.2.3.4"), "1.2.3.4"),
    ],
)
def test_what_no_decoder_is_installed_for_is_named(tmp_path: Path, syntax: UID, told: str) -> None:
    dataset = make_dicom(RAMP8)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "i.dcm"
    dataset.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    with pytest.raises(DecodeError, match=told):
        read_frame(path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 0},
        {"Rows": 60000, "Columns": 60000},
        {"BitsAllocated": 24},
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": 0, "WindowWidth": 5, "VOILUTFunction": "CUBIC"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"NumberOfFrames": 5},
        {"NumberOfFrames": 10**9},
        {"SamplesPerPixel": 3},
    ],
)
def test_headers_that_contradict_the_pixels_are_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = write_dicom(tmp_path / "i.dcm", RAMP16, **attributes)
    with pytest.raises(DecodeError) as refusal:
        read_frame(path, frame=int(attributes.get("NumberOfFrames", 1)) - 1)
    assert "\n" not in str(refusal.value)


def test_what_is_no_dicom_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.dcm"
    for content in (b"", b"nothing", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 500):
        path.write_bytes(content)
        with pytest.raises(DecodeError, match=r"i\.dcm"):
            read_frame(path)
    with pytest.raises(DecodeError, match="missing"):
        read_header(tmp_path / "nowhere.dcm")


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "i.dcm", RAMP8, syntax=DeflatedExplicitVRLittleEndian)
    assert read_frame(path).tolist() == RAMP8.tolist()
    head = path.read_bytes()[: dicom._DATA_SET_START + read_meta_length(path)]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush()
    path.write_bytes(head + zeros)
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 1 << 22)
    with pytest.raises(DecodeError, match="inflates to more than 4 MiB"):
        read_header(path)


def read_meta_length(path: Path) -> int:
    from pydicom.filereader import read_file_meta_info

    return int(read_file_meta_info(path).FileMetaInformationGroupLength)


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    whole = write_dicom(tmp_path / "i.dcm", RAMP16).read_bytes()
    path = tmp_path / "short.dcm"
    for missing in (1, 2, len(RAMP16.tobytes()) - 1):
        path.write_bytes(whole[:-missing])
        with pytest.raises(DecodeError):
            read_frame(path)


@given(data=st.data())
@settings(max_examples=60)
def test_damage_ends_in_one_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.dcm"
    if not whole.is_file():
        write_dicom(whole, RAMP16, PatientAge="058Y", WindowCenter=[1, 2], WindowWidth=[3, 4])
    content = bytearray(whole.read_bytes())
    del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.dcm"
    path.write_bytes(content)
    for read in (read_header, read_frame):
        with contextlib.suppress(DecodeError):
            read(path)


@pytest.mark.shared
def test_monochrome1_is_the_inverted_original(shared_data: Path) -> None:
    root = shared_data / "rsna_pneumonia_layout"
    (original,) = (root / "stage_2_train_images").glob("*.dcm")
    plain, inverted = read_frame(original), read_frame(root / "monochrome1_inverted_copy.dcm")
    # the copy has the same compressed pixels and says that zero is white
    np.testing.assert_array_equal(inverted, 255 - plain)
    jpeg = original.read_bytes()
    expected = Image.open(io.BytesIO(jpeg[jpeg.index(b"\xff\xd8\xff") :])).convert("L")
    np.testing.assert_array_equal(plain, np.asarray(expected))


@pytest.mark.shared
def test_real_ct(shared_data: Path) -> None:
    """The file's first window is -500 +- 750 HU, its values are 0 to 2746 with an intercept of -1024."""
    path = shared_data / "luna16" / "cptac_lscc_dicom_sample" / "000040.dcm"
    header = read_header(path)
    assert (header.modality, header.age_years, header.sex, header.patient_id) == ("ct", 77, "F", "C3N-00247")
    assert header.positions == (-57,)
    raw = np.frombuffer(path.read_bytes()[-512 * 512 * 2 :], dtype="<u2").reshape(512, 512).astype(float)
    assert raw.max() == 2746
    hu = raw - 1024
    linear = np.clip((hu + 500.5) / 1499 + 0.5, 0, 1)
    np.testing.assert_array_equal(read_frame(path), np.rint(linear * 255))
    exact = np.clip((hu - 40) / 400 + 0.5, 0, 1)
    np.testing.assert_array_equal(read_frame(path, window=(40, 400)), np.rint(exact * 255))
