"""Descriptors against images whose descriptors are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from radtransfer.baselines.handcrafted import (
    FAMILIES,
    GABOR_FREQUENCIES,
    GABOR_ORIENTATIONS,
    GLCM_DISTANCES,
    HARALICK,
    LBP_RINGS,
    REGIONS,
    feature_table,
    handcrafted_features,
)


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def grating(frequency: float, degrees: float, size: int = 128) -> np.ndarray:
    row, column = np.mgrid[:size, :size]
    phase = column * np.cos(np.radians(degrees)) + row * np.sin(np.radians(degrees))
    return np.rint(127.5 + 100 * np.cos(2 * np.pi * frequency * phase)).astype(np.uint8)


@pytest.mark.parametrize("size", [32, 64, 100, 128, 256])
def test_lengths_do_not_depend_on_the_size(size: int) -> None:
    features = handcrafted_features(noise(size))
    assert {name: len(values) for name, values in features.items()} == {
        "histogram": 5 + 7 + 2 * REGIONS**2,
        "glcm": 2 * len(HARALICK) * len(GLCM_DISTANCES),
        "lbp": (1 + REGIONS**2) * sum(points + 2 for points, _ in LBP_RINGS),
        "gabor": len(GABOR_FREQUENCIES) * GABOR_ORIENTATIONS * (2 + REGIONS**2),
        "hog": 7 * 7 * 2 * 2 * 9,
    }


@pytest.mark.parametrize("level", [0, 97, 255])
def test_a_blank_image_has_finite_descriptors(level: int) -> None:
    blank = np.full((64, 64), level, np.uint8)
    features = handcrafted_features(blank)
    assert all(np.isfinite(values).all() for values in features.values())
    assert features["histogram"][:5] == pytest.approx([level / 255, 0, 0, 0, 0], abs=1e-6)
    assert not features["hog"].any()
    assert features["gabor"] == pytest.approx(0, abs=1e-5)


def test_large_images_are_averaged_first() -> None:
    small = noise(128)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    for name, values in handcrafted_features(large).items():
        np.testing.assert_array_equal(values, handcrafted_features(small)[name])


def test_rows_are_images_and_families_stand_side_by_side() -> None:
    images = np.stack([noise(32, seed) for seed in range(3)])
    table = feature_table(images)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[2], np.concatenate(list(handcrafted_features(images[2]).values())))


def test_histogram_of_two_levels() -> None:
    image = np.zeros((66, 66), np.uint8)
    image[:, 33:] = 255
    mean, spread, entropy, skew, kurtosis, *rest = FAMILIES["histogram"](image)
    # a fair coin: entropy ln 2, symmetric, excess kurtosis -2
    assert [mean, spread, entropy, skew, kurtosis] == pytest.approx([0.5, 0.5, np.log(2), 0, -2])
    region_means = np.reshape(rest[7 : 7 + REGIONS**2], (REGIONS, REGIONS))
    np.testing.assert_allclose(region_means, [[0, 0.5, 1]] * 3)


def test_cooccurrence_of_stripes() -> None:
    """Columns 0, 255, 0, 255 ...: grey levels 0 and 31 of 32."""
    image = np.zeros((64, 64), np.uint8)
    image[:, 1::2] = 255
    values = FAMILIES["glcm"](image)[: len(HARALICK) * len(GLCM_DISTANCES)]
    means = dict(zip(HARALICK, values.reshape(len(HARALICK), -1), strict=True))
    # at distance 1 the levels differ sideways and on both diagonals, not downwards: 3/4 of 31^2
    # at distances 2 and 4 (diagonals: 1.41 rounds to 1, 2.83 to 3) by direction
    assert means["contrast"][0] == pytest.approx(0.75 * 31**2)
    assert means["dissimilarity"][0] == pytest.approx(0.75 * 31)
    # two equally frequent pairs in every direction
    assert means["ASM"] == pytest.approx(0.5, abs=1e-3)
    assert means["entropy"] == pytest.approx(np.log(2), abs=1e-3)


def test_local_patterns_of_a_turned_image_are_the_same() -> None:
    image = cv2.GaussianBlur(noise(64), (0, 0), 1.5)
    whole = np.cumsum([0, *((1 + REGIONS**2) * (points + 2) for points, _ in LBP_RINGS)])
    upright, turned = FAMILIES["lbp"](image), FAMILIES["lbp"](np.rot90(image).copy())
    for (points, _), start in zip(LBP_RINGS, whole, strict=False):
        histogram = upright[start : start + points + 2]
        assert histogram.sum() == pytest.approx(1)
        # points of a ring are interpolated: a few ties at the image's rim fall otherwise
        np.testing.assert_allclose(turned[start : start + points + 2], histogram, atol=0.01)


@pytest.mark.parametrize("orientation", range(GABOR_ORIENTATIONS))
@pytest.mark.parametrize("band", range(len(GABOR_FREQUENCIES)))
def test_the_filter_of_a_grating_answers_most(band: int, orientation: int) -> None:
    degrees = 180 / GABOR_ORIENTATIONS * orientation
    response = FAMILIES["gabor"](grating(GABOR_FREQUENCIES[band], degrees))
    mean = response.reshape(len(GABOR_FREQUENCIES), GABOR_ORIENTATIONS, -1)[..., 0]
    assert np.unravel_index(mean.argmax(), mean.shape) == (band, orientation)


@pytest.mark.parametrize("region", range(REGIONS**2))
def test_filters_answer_where_the_texture_is(region: int) -> None:
    image = np.full((129, 129), 128, np.uint8)[:128, :128]
    row, column = divmod(region, REGIONS)
    part = np.s_[row * 42 : row * 42 + 42, column * 42 : column * 42 + 42]
    image[part] = grating(GABOR_FREQUENCIES[1], 30)[part]
    response = FAMILIES["gabor"](image).reshape(len(GABOR_FREQUENCIES), GABOR_ORIENTATIONS, -1)[1, 1, 2:]
    assert response.argmax() == region
    assert response[region] > 4 * np.delete(response, region).max()


def test_gradients_point_across_the_edges() -> None:
    vertical_stripes = grating(1 / 16, 0)
    by_orientation = FAMILIES["hog"](vertical_stripes).reshape(-1, 9).mean(axis=0)
    assert by_orientation.argmax() == 0  # gradient along the rows: 0 to 20 degrees
    by_orientation = FAMILIES["hog"](vertical_stripes.T).reshape(-1, 9).mean(axis=0)
    assert by_orientation.argmax() == 4  # 80 to 100 degrees
