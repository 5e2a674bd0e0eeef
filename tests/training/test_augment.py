"""Stored views: what they may and may not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from radtransfer.training.augment import resize, view
from radtransfer.training.runs import TrainingOptions

STILL = {"rotation_degrees": 0.0, "zoom": 0.0, "shift": 0.0}


def options(**changes: object) -> TrainingOptions:
    return TrainingOptions.model_validate({"input_size": 64, "views": 3} | changes)


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)


def disc(x: float, y: float, radius: float = 6) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:64, :64]
    return np.where((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, 255, 0).astype(np.uint8)


def centre(image: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    total = image.sum()
    return float((columns * image).sum() / total), float((rows * image).sum() / total)


def test_view_0_is_the_image() -> None:
    np.testing.assert_array_equal(view(noise(), "a", 0, options()), noise())


@given(st.text(min_size=1, max_size=8), st.integers(1, 5))
def test_no_range_no_change(image_id: str, number: int) -> None:
    np.testing.assert_array_equal(view(noise(), image_id, number, options(**STILL)), noise())


def test_a_view_depends_on_image_number_and_seed_alone() -> None:
    first = view(noise(), "a", 1, options())
    view(noise(1), "b", 2, options())  # whatever was drawn in between
    np.testing.assert_array_equal(first, view(noise(), "a", 1, options(seed=9, dropout=0.1)))
    others = [view(noise(), *key) for key in (("a", 2, options()), ("b", 1, options()))]
    others.append(view(noise(), "a", 1, options(views_seed=1)))
    assert all((first != other).any() for other in others)


@given(number=st.integers(1, 1000))
def test_translation_stays_in_its_range(number: int) -> None:
    x, y = centre(view(disc(31.5, 31.5), "a", number, options(**STILL | {"shift": 0.1})))
    assert abs(x - 31.5) <= 6.4 + 0.1
    assert abs(y - 31.5) <= 6.4 + 0.1


@given(number=st.integers(1, 1000))
def test_rotation_stays_in_its_range_about_the_centre(number: int) -> None:
    x, y = centre(view(disc(51.5, 31.5), "a", number, options(**STILL | {"rotation_degrees": 10.0})))
    angle = np.degrees(np.arctan2(y - 31.5, x - 31.5))
    assert abs(angle) <= 10 + 0.3
    assert np.hypot(x - 31.5, y - 31.5) == pytest.approx(20, abs=0.2)


@given(number=st.integers(1, 1000))
def test_zoom_stays_in_its_range_about_the_centre(number: int) -> None:
    x, y = centre(view(disc(51.5, 31.5), "a", number, options(**STILL | {"zoom": 0.1})))
    assert 20 * 0.9 - 0.2 <= x - 31.5 <= 20 * 1.1 + 0.2
    assert y == pytest.approx(31.5, abs=0.1)


def test_ranges_are_used_in_full_and_evenly() -> None:
    shifted = [
        centre(view(disc(31.5, 31.5), "a", n, options(**STILL | {"shift": 0.1})))[0] - 31.5
        for n in range(1, 401)
    ]
    # uniform on +-6.4 px: mean 0, standard deviation 6.4 / sqrt(3)
    assert np.mean(shifted) == pytest.approx(0, abs=4 * 3.7 / 20)
    assert np.std(shifted) == pytest.approx(6.4 / np.sqrt(3), rel=0.1)


def test_flips_are_off_unless_asked_for_and_then_half() -> None:
    image = disc(51.5, 31.5)
    mirrored = [
        centre(view(image, "a", n, options(**STILL | {"horizontal_flip": True})))[0] < 31.5
        for n in range(1, 401)
    ]
    assert 0.4 < np.mean(mirrored) < 0.6
    assert all(centre(view(image, "a", n, options(**STILL)))[0] > 31.5 for n in range(1, 50))
    flipped = view(noise(), "a", 1 + mirrored.index(True), options(**STILL | {"horizontal_flip": True}))
    np.testing.assert_array_equal(flipped, noise()[:, ::-1])


def test_shrinking_averages_areas() -> None:
    image = np.zeros((4, 4), dtype=np.uint8)
    image[:2, :2] = [[10, 20], [30, 40]]
    image[2:, 2:] = 100
    np.testing.assert_array_equal(resize(image, 2), [[25, 0], [0, 100]])
    assert resize(image, 8).shape == (8, 8)
