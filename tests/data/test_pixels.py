"""Decoding, quality and duplicates."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radtransfer.data import quality
from radtransfer.data.duplicates import components, correlation, find_duplicates, join_groups
from radtransfer.data.images import DecodeError, centre_square, decode, resize_shortest, standardise
from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.errors import DataError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_every_eight_bit_mode_gives_grey(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.full((4, 6), 255, np.uint8)).convert(mode).save(tmp_path / "a.png")
    got = decode(tmp_path / "a.png")
    assert got.shape == (4, 6)
    assert (got == 255).all()


@pytest.mark.parametrize("shape", [(5, 7), (1023, 33), (4100, 4100)])  # the last in several pieces
def test_every_pixel_is_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    Image.fromarray(image).save(tmp_path / "a.bmp")
    got = decode(tmp_path / "a.bmp")
    np.testing.assert_array_equal(got, image)
    assert got.flags.c_contiguous


def png(rng: np.random.Generator, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Grey PNG file of 37 x 29 pixels that Pillow would not write."""
    rows = b"".join(bytes([rng.integers(0, 5)]) + rng.bytes((37 * depth + 7) // 8) for _ in range(29))
    header = struct.pack(">IIBBBBB", 37, 29, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def by_pillow(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) if image.mode == "L" else None
    except Exception:  # whatever its reader raises
        return None


def by_us(path: Path) -> np.ndarray | None:
    try:
        return decode(path)
    except DecodeError:
        return None


@pytest.mark.parametrize(
    ("depth", "chunks"),
    [
        (2, []),
        (4, []),
        (8, []),
        (8, [(b"tRNS", b"\0\x07")]),
        (8, [(b"gAMA", struct.pack(">I", 45455))]),
        (8, [(b"bKGD", b"\0\x07"), (b"tEXt", b"orientation\0six")]),
        (8, [(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")]),
    ],
)
def test_grey_png_has_the_pixels_of_the_file(
    tmp_path: Path, depth: int, chunks: list[tuple[bytes, bytes]]
) -> None:
    """Read by OpenCV, which could turn, scale or correct them; the reference is Pillow."""
    path = tmp_path / "a.png"
    path.write_bytes(png(np.random.default_rng(0), depth, *chunks))
    want = by_pillow(path)
    assert want is not None
    np.testing.assert_array_equal(decode(path), want)


def test_of_damaged_png_files_none_is_read_that_pillow_refuses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path, whole = tmp_path / "a.png", bytearray(png(rng, 8, (b"gAMA", struct.pack(">I", 45455))))
    n_read = 0
    for _ in range(400):
        content = whole.copy()
        at, some = (int(number) for number in rng.integers(0, (len(whole), 9)))
        match rng.integers(0, 4):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + some]
            case 2:
                content[at:at] = rng.bytes(some)
            case 3:
                content[at] ^= 1 << (some % 8)
        path.write_bytes(content)
        want, got = by_pillow(path), by_us(path)
        assert (want is None) == (got is None)
        if want is not None:
            np.testing.assert_array_equal(got, want)
            n_read += 1
    assert 0 < n_read < 400


def test_nothing_but_the_error_is_said_of_a_png_file_that_is_cut_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = png(np.random.default_rng(0), 8)
    path = tmp_path / "a.png"
    for length in range(60, len(whole), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(DecodeError):
            decode(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("length", [2**31 - 1, 2**30, 10_000, 0])
def test_a_png_file_whose_chunk_has_another_length_than_it_tells_is_left_to_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """OpenCV would make room for all of it before it looks for it."""
    whole = png(np.random.default_rng(0), 8)
    place = whole.index(b"IDAT") - 4
    path = tmp_path / "a.png"
    path.write_bytes(whole[:place] + struct.pack(">I", length) + whole[place + 4 :])
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("OpenCV was asked"))
    found, expected = by_us(path), by_pillow(path)
    assert (found is None) == (expected is None)
    if found is not None:
        np.testing.assert_array_equal(found, expected)


def test_luma_weights_of_colour(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "red.png")
    assert decode(tmp_path / "red.png")[0, 0] == 76  # 0.299 * 255


def test_what_is_not_an_image_does_not_decode(tmp_path: Path) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    for name in ("truncated", "text", "deep"):
        with pytest.raises(DecodeError, match=name):
            decode(tmp_path / f"{name}.png")


def test_aspect_is_kept_and_the_centre_cut() -> None:
    assert resize_shortest(noise(100, 200), 50).shape == (50, 100)
    assert standardise(noise(300, 200), 64).shape == (64, 64)
    image = noise(3, 7)
    np.testing.assert_array_equal(centre_square(image), image[:, 2:5])
    with pytest.raises(DataError, match="not enlarged"):
        resize_shortest(noise(10, 10), 11)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "gif", "webp"])
def test_pixels_do_not_change_with_the_file(tmp_path: Path, suffix: str) -> None:
    """Pillow maps files that are not compressed into memory."""
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(np.full((300, 200), 9, np.uint8)).save(path)
    pixels = decode(path)
    with path.open("r+b") as stream:
        stream.write(b"\xff" * path.stat().st_size)
    assert pixels.shape == (300, 200)
    assert np.unique(pixels).tolist() == [9]


RAMP = np.tile(np.arange(256, dtype=np.uint8), (256, 1))


def with_part(value: int, share: float, *, ground: int) -> np.ndarray:
    """Image of 100 x 100 pixels, a share of which has another value."""
    image = np.full(10_000, ground, np.uint8)
    image[: round(share * 10_000)] = value
    return image.reshape(100, 100)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (RAMP, ""),
        (np.full((256, 256), 80, np.uint8), quality.BLANK),
        (80 + RAMP // 8, quality.BLANK),  # range of 31
        (80 + RAMP // 7, ""),  # 36
        (with_part(200, 0.019, ground=quality.DARK), quality.EMPTY),
        (with_part(200, 0.021, ground=quality.DARK), ""),
        (with_part(128, 0.049, ground=255), quality.CLIPPED),
        (with_part(128, 0.051, ground=255), ""),
        (RAMP[:63], quality.STRIP),
        (RAMP[:64], ""),
        (RAMP.T[:, :63], quality.STRIP),
        (RAMP[:31], quality.too_small(32)),
    ],
)
def test_rules_of_quality(image: np.ndarray, reason: str) -> None:
    assert quality.defect(image, 32, modality="xray") == reason


@pytest.mark.parametrize(
    "image",
    [
        RAMP,
        np.full((256, 256), 80, np.uint8),
        with_part(200, 0.015, ground=0),
        with_part(128, 0.051, ground=255),
    ],
)
def test_a_large_image_is_judged_as_a_small_one(image: np.ndarray) -> None:
    """Of a large one not every pixel is read."""
    side = 4 * quality.SAMPLED
    large = image.repeat(-(-side // len(image)), axis=0).repeat(-(-side // len(image)), axis=1)
    assert min(large.shape) >= 2 * quality.SAMPLED
    assert quality.defect(large, 32, modality="xray") == quality.defect(image, 32, modality="xray")
    assert quality.polarity(large) == pytest.approx(quality.polarity(image), abs=0.02)


def test_a_ct_window_clips_on_purpose() -> None:
    image = with_part(128, 0.03, ground=255)
    assert quality.defect(image, 32, modality="mri") == quality.CLIPPED
    assert quality.defect(image, 32, modality="ct") == ""
    assert quality.warning(image, modality="ct") == quality.CLIPPED
    assert quality.warning(RAMP, modality="ct") == ""


def test_warnings_are_all_told() -> None:
    chest = generate(PhantomSpec(n_patients=1, images_per_patient=1, seed=5)).images[0]
    assert quality.warning(chest, modality="xray") == ""
    assert quality.warning(255 - chest, modality="xray") == quality.INVERTED
    assert quality.warning(255 - chest, modality="mri") == ""
    assert quality.warning(255 - chest[:63], modality="xray") == f"{quality.MOSTLY_CUT}; {quality.INVERTED}"


def test_polarity_of_an_image_and_its_negative_are_opposite() -> None:
    images = generate(PhantomSpec(n_patients=50, seed=6)).images
    upright = np.array([quality.polarity(image) for image in images])
    negative = np.array([quality.polarity(255 - image) for image in images])
    assert upright.min() > 0.5
    assert quality.polarity(np.full((9, 9), 7, np.uint8)) == 0
    np.testing.assert_allclose(negative, -upright, atol=0.01)  # the reduction rounds to whole grey values


def test_connected_components_by_hand() -> None:
    component = components(5, [(0, 3), (3, 4)])
    assert component[0] == component[3] == component[4]
    assert len(set(component)) == 3


def test_groups_join_duplicates_and_series() -> None:
    pairs = np.array([[1, 2]])
    assert join_groups(list("dcba"), ["s", "s", "t", "u"], pairs).tolist() == ["b", "b", "b", "a"]


def test_a_shifted_brighter_noisier_copy_is_found_and_an_unlike_image_is_not() -> None:
    images = generate(PhantomSpec(n_patients=12, images_per_patient=1, seed=5)).images.copy()
    copy = np.roll(images[3], 1, axis=0) * 1.05 + 3 + np.random.default_rng(0).normal(0, 1.5, (128, 128))
    images[7] = np.clip(copy, 0, 255)
    assert find_duplicates(images).pairs.tolist() == [[3, 7]]
    assert correlation(images[3], images[7]) > 0.999 > correlation(images[3], images[4])


@pytest.mark.parametrize("modality", ["xray", "ct", "mri"])
def test_planted_duplicates_are_found_and_no_others(modality: str) -> None:
    spec = PhantomSpec(modality=modality, n_patients=120, n_near_duplicates=5, seed=9)  # type: ignore[arg-type]
    phantoms = generate(spec)
    frame = phantoms.cohort.frame
    row = {name: position for position, name in enumerate(frame["image_id"])}
    copies = frame.dropna(subset="duplicate_of")
    planted = {tuple(sorted((row[i], row[j]))) for i, j in copies[["image_id", "duplicate_of"]].to_numpy()}
    assert len(planted) == 5
    assert {tuple(pair) for pair in find_duplicates(phantoms.images).pairs.tolist()} == planted
