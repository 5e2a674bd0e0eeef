"""Decoding, quality and duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radtransfer.data import quality
from radtransfer.data.duplicates import components, correlation, join_groups, near_pairs
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


def test_rules_of_quality() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    assert quality.defect(ramp, 256) == ""
    assert quality.defect(ramp, 257) == quality.too_small(257)
    assert quality.defect(np.full((9, 9), 80, np.uint8), 9) == quality.BLANK
    clipped = np.zeros((100, 100), np.uint8)
    clipped[:50] = 255
    assert quality.defect(clipped, 100) == quality.CLIPPED


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
    assert near_pairs(images).tolist() == [[3, 7]]
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
    assert {tuple(pair) for pair in near_pairs(phantoms.images).tolist()} == planted
