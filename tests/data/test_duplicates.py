"""The index against all pairs, on phantoms with planted copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from radtransfer.data import duplicates
from radtransfer.data.duplicates import correlation, find_duplicates, fisher_directions
from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.errors import InputError

SIZE = 128


def phantoms(n: int, seed: int = 0, modality: str = "xray") -> np.ndarray:
    spec = PhantomSpec(modality=modality, n_patients=n, images_per_patient=1, size=SIZE, seed=seed)  # type: ignore[arg-type]
    return generate(spec).images


def copied(image: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    if how == "shift":
        dx, dy = rng.integers(-3, 4, 2)
        shift = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
        return cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    if how == "exposure":
        return np.clip(image * rng.uniform(0.85, 1.1) + rng.uniform(-5, 5), 0, 255).astype(np.uint8)
    if how == "noise":
        return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0)
    small = cv2.resize(image, (SIZE * 7 // 8,) * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def all_pairs(images: np.ndarray) -> set[tuple[int, int]]:
    """Pairs by correlation in full of all whose thumbnails correlate by .8: no index."""
    tiny = np.stack([cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA).ravel() for image in images])
    alike = np.argwhere(np.triu(np.corrcoef(tiny) >= 0.8, k=1))
    return {
        (int(i), int(j))
        for i, j in alike
        if correlation(images[i], images[j], size=SIZE) >= duplicates.CONFIRMED
    }


@pytest.mark.parametrize("modality", ["xray", "ct", "mri"])
def test_the_index_finds_what_all_pairs_find(modality: str) -> None:
    rng = np.random.default_rng(4)
    images = phantoms(260, modality=modality)
    hows = np.repeat(["shift", "exposure", "noise", "jpeg", "resize"], 8)
    images[-40:] = [copied(images[i], how, rng) for i, how in enumerate(hows)]
    found = find_duplicates(images)
    reference = all_pairs(images)
    planted = {(i, 220 + i) for i in range(40)}
    assert len(planted & reference) >= 30, "most copies are duplicates by the definition"
    assert {tuple(pair) for pair in found.pairs.tolist()} == reference
    assert found.n_candidates < 0.15 * 260 * 259 / 2, "that is no index"


def test_identical_images_are_paired_with_the_first_of_them_only() -> None:
    images = phantoms(8)
    images[[2, 5, 7]] = images[2]
    found = find_duplicates(images)
    assert found.pairs.tolist() == [[2, 5], [2, 7]]
    assert found.identical.all()
    assert len(set(found.groups.tolist())) == 6
    table = found.to_frame(patient_id=list("abcdefgh"))
    assert table["patient_id_1"].tolist() == ["c", "c"]
    assert table["patient_id_2"].tolist() == ["f", "h"]


def test_constant_images_are_like_nothing() -> None:
    images = np.concatenate([np.zeros((3, SIZE, SIZE), np.uint8), phantoms(2)])
    assert len(find_duplicates(images).pairs) == 0
    assert len(find_duplicates(images[:1]).pairs) == len(find_duplicates(images[:0]).pairs) == 0


def test_across_collections_of_other_sizes_and_from_disk(tmp_path: Path) -> None:
    one = phantoms(5)
    other = np.stack([cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA) for image in one[[3, 1]]])
    np.save(tmp_path / "one.npy", one)
    found = find_duplicates([np.load(tmp_path / "one.npy", mmap_mode="r"), other])
    assert found.pairs.tolist() == [[1, 6], [3, 5]]
    assert not found.identical.any()


def test_portions_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    images = phantoms(160, seed=3)
    images[130:] = images[:30] // 2
    whole = find_duplicates(images)
    monkeypatch.setattr(duplicates, "_PAIRS", 20)
    monkeypatch.setattr(duplicates, "_CHUNK", 32)
    told: list[tuple[str, int, int]] = []
    portions = find_duplicates(images, progress=lambda *step: told.append(step))
    assert portions.pairs.tolist() == whole.pairs.tolist()
    assert len(whole.pairs) >= 30
    assert told[-1] == ("compare candidates", 160, 160)
    assert len([step for step in told if step[0] == "compare candidates"]) > 2


def test_what_is_no_stack_of_grey_images_is_refused() -> None:
    for wrong in (np.zeros((2, 8, 8)), np.zeros((8, 8), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            find_duplicates(wrong)


def test_directions_are_those_of_the_linear_discriminant() -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 3, (40, 1, 6))
    members = (centres + rng.normal(0, 1, (40, 5, 6)) * [1, 2, 3, 1, 1, 1]).astype(np.float32)
    oracle = LinearDiscriminantAnalysis(solver="eigen", shrinkage=1e-3).fit(
        members.reshape(200, 6), np.repeat(np.arange(40), 5)
    )
    ours, theirs = fisher_directions(members), oracle.scalings_
    np.testing.assert_allclose(np.abs((ours * theirs).sum(axis=0)), (theirs**2).sum(axis=0), rtol=1e-6)
