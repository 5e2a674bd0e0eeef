"""Synthetic radiographs, head CT and brain MRI slices whose truths are known because they were planted.

An analysis that is right recovers from these images what was put into them: how well the task can
be done at all, how much worse in one sex, a hospital's mark that gives the label away, images that
two patients share, and where the lesion lies.

Model
-----
Label ``D`` of a patient acts on an image only through one latent number, the evidence ``e``
(column ``truth_score``), normal with variance 1 and mean ``-d'/2`` without and ``+d'/2`` with the
disease: the equal-variance binormal model of signal detection, where

    AUC = Phi(d' / sqrt(2)),  so  d' = sqrt(2) * Phi^-1(AUC)

(Green and Swets, *Signal Detection Theory and Psychophysics*, 1966, ch. 3; Barrett and Myers,
*Foundations of Image Science*, 2004, sec. 13.2.4, where ``d'`` is the detectability ``d_A``). The
likelihood ratio of ``e`` is ``exp(d' e)``, increasing, so ``e`` itself is the ideal observer's
score. Every image, of either class, has one site where an opacity of contrast
``expit(CONTRAST_SLOPE * e)`` is drawn: faint shadows in the healthy, missed disease in the sick.
As ``D -> e -> image`` is a Markov chain, no observer of the image alone can expect more than the planted AUC
(Neyman and Pearson); how much less is the difficulty of its task, made by anatomy, exposure and noise.
Age, view and sex are independent of the label, and so is the site unless a shortcut is planted.

Images of one patient share label, anatomy and half of the variance of ``e``.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from radtransfer.data.anatomy import DRAW, Draws, Scene
from radtransfer.data.cohort import Cohort
from radtransfer.errors import InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TASKS: Final = {"xray": "pneumonia", "ct": "haemorrhage", "mri": "tumour"}
"""Task of each modality; its label column is ``label_<task>``."""

CONTRAST_SLOPE: Final = 1.8
"""Steepness of the opacity's contrast as a function of the evidence."""

PATIENT_SHARE: Final = 0.5
"""Share of the variance of the evidence that the images of one patient have in common."""

MISSING_AGE: Final = 0.03
"""Share of patients whose age is not recorded."""

_N_PATIENT, _N_IMAGE = 48, 32
"""Uniform numbers set aside for each patient and image."""


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """What to draw, and the truths to plant in it.

    Parameters
    ----------
    modality : {"xray", "ct", "mri"}
        Frontal chest radiograph (pneumonia), axial head CT (haemorrhage) or axial T2-weighted
        brain MRI (tumour).
    task : str
        Name of the task, the modality's own of :data:`TASKS` by default; the lesion is the same.
    n_patients : int
        Number of patients, at least 1.
    images_per_patient : float
        Mean number of images of a patient; each has one, and a Poisson number more.
    size : int
        Height and width in pixels, at least 32.
    prevalence : float
        Share of patients with the disease, in (0, 1).
    auc : float
        Planted AUC of the latent evidence, in [0.5, 1); the bound of any observer.
    subgroup_gap : float
        The planted AUC of female patients is ``auc - subgroup_gap``; it may not be below 0.5.
    site_shortcut : float
        Correlation (phi) in [0, 1] of the label with the hospital, which is seen by its marker.
    n_near_duplicates : int
        Pairs of images of two patients that show the same exposure.
    seed : int
        Everything follows from it. An image depends on the seed, its patient's number and its own,
        not on how many others there are (the near duplicates apart).

    Raises
    ------
    InputError
        If a value is out of range.
    """

    modality: Literal["xray", "ct", "mri"] = "xray"
    task: str = ""
    n_patients: int = 100
    images_per_patient: float = 1.5
    size: int = 128
    prevalence: float = 0.5
    auc: float = 0.85
    subgroup_gap: float = 0.0
    site_shortcut: float = 0.0
    n_near_duplicates: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.modality not in TASKS:
            raise unknown_name("phantom modality", self.modality, TASKS)
        object.__setattr__(self, "task", self.task or TASKS[self.modality])
        for name, fits, allowed in (
            ("task", re.fullmatch("[a-z][a-z0-9_]*", self.task), "lower-case letters, digits and _"),
            ("n_patients", self.n_patients >= 1, "at least 1"),
            ("images_per_patient", self.images_per_patient >= 1, "at least 1"),
            ("size", self.size >= 32, "at least 32 pixels"),
            ("prevalence", 0 < self.prevalence < 1, "between 0 and 1"),
            ("auc", 0.5 <= self.auc < 1, "0.5 or more and below 1"),
            ("subgroup_gap", 0 <= self.subgroup_gap <= self.auc - 0.5, "0 to auc - 0.5"),
            ("site_shortcut", 0 <= self.site_shortcut <= 1, "0 to 1"),
            ("n_near_duplicates", self.n_near_duplicates >= 0, "0 or more"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not fits:
                raise InputError(f"phantom {name} is {getattr(self, name)}", hint=f"it must be {allowed}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PhantomSpec:
        """Make a spec of a profile's parameters; an unknown name is refused with the nearest one."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("phantom parameter", name, known)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return asdict(self)

    @property
    def dataset(self) -> str:
        """Identifier of the dataset, for instance ``"phantom_xray"``."""
        return f"phantom_{self.modality}"

    @property
    def subgroup_auc(self) -> dict[str, float]:
        """Planted AUC by sex."""
        return {"M": self.auc, "F": self.auc - self.subgroup_gap}


@dataclass(frozen=True, kw_only=True)
class PhantomSet:
    """Phantoms with their truths.

    Attributes
    ----------
    images : ndarray of uint8, shape (n_images, size, size)
        Pixels, in the order of the cohort's rows.
    cohort : Cohort
        One task, the box of the lesion (null without the disease), and the columns ``truth_score`` (the
        latent evidence) and ``duplicate_of`` (image it repeats, or null). CT slices have a
        ``slice_fraction``, which tells nothing of the label.
    opacity_boxes : ndarray of float64, shape (n_images, 4)
        Box (left, top, width, height) of the site where the opacity is drawn, in both classes: what
        an observer knows who is told where to look.
    spec : PhantomSpec
        What they were made of.
    """

    images: NDArray[np.uint8]
    cohort: Cohort
    opacity_boxes: NDArray[np.float64]
    spec: PhantomSpec


def generate(spec: PhantomSpec, *, lesions: bool = True) -> PhantomSet:
    """Draw phantoms.

    Parameters
    ----------
    spec : PhantomSpec
        What to draw.
    lesions : bool
        False draws the same images without their opacities: the difference is the lesion.

    Returns
    -------
    PhantomSet
        Images, cohort and truths.

    Raises
    ------
    InputError
        If there are not enough similar images of different patients for the near duplicates.
    """
    # here, since every command reads profiles, which hold specs, and would wait for all of scipy.stats
    from scipy.stats import poisson

    patients = Draws([(spec.seed, i) for i in range(spec.n_patients)], _N_PATIENT)
    n_images = 1 + poisson.ppf(patients.uniform(), spec.images_per_patient - 1).astype(int)
    patient = np.repeat(np.arange(spec.n_patients), n_images)
    number = np.concatenate([np.arange(n) for n in n_images])
    images = Draws([(spec.seed, int(i), 1 + int(k)) for i, k in zip(patient, number, strict=True)], _N_IMAGE)

    truth = _truths(spec, patients)
    person = truth.loc[patient].reset_index(drop=True)
    shared, own = person["evidence"].to_numpy(), images.normal()
    d_prime = math.sqrt(2) * ndtri(person["sex"].map(spec.subgroup_auc).to_numpy())
    evidence = d_prime * (person["label"].to_numpy() - 0.5) + math.sqrt(PATIENT_SHARE) * shared
    evidence += math.sqrt(1 - PATIENT_SHARE) * own
    ap = images.uniform() < 0.5

    scene = Scene(
        anatomy=patients.rest(patient),
        exposure=images,
        age=person["age"].to_numpy(dtype=np.float32),
        female=(person["sex"] == "F").to_numpy(),
        ap=ap,
        contrast=expit(CONTRAST_SLOPE * evidence) if lesions else np.zeros(len(evidence)),
        size=spec.size,
    )
    pixels = np.empty((len(patient), spec.size, spec.size), np.uint8)
    for rows, grey in DRAW[spec.modality](scene):
        pixels[rows] = np.rint(np.clip(grey, 0, 1) * 255)
    _stamp(pixels, second=(person["site"] == "site_b").to_numpy(), shift=images.uniform())

    boxes = scene.box
    image_id = [f"{spec.dataset}_{i:05d}_{k:02d}" for i, k in zip(patient, number, strict=True)]
    frame = pd.DataFrame(
        {
            "image_id": image_id,
            "patient_id": [f"{i:05d}" for i in patient],
            "group_id": image_id,
            "dataset": spec.dataset,
            "modality": spec.modality,
            "path": [f"{name}.png" for name in image_id],
            "age_years": person["age"].where(~person["age_missing"]).astype("Float64"),
            "sex": person["sex"],
            "view": np.where(ap, "AP", "PA") if spec.modality == "xray" else "axial",
            "site": person["site"],
            f"label_{spec.task}": person["label"].astype("Int64"),
            "truth_score": evidence,
            "duplicate_of": pd.array([None] * len(image_id), dtype="string"),
        }
    )
    if spec.modality == "ct":
        frame["slice_fraction"] = pd.Series(images.uniform()).astype("Float64")
    _repeat_exposures(spec, pixels, frame, boxes)
    diseased = frame[f"label_{spec.task}"] == 1
    for column, name in enumerate(("x", "y", "width", "height")):
        frame[f"bbox_{name}"] = pd.Series(boxes[:, column]).where(diseased).astype("Float64")
    cohort = Cohort(frame, dataset=spec.dataset, tasks=(spec.task,))
    return PhantomSet(images=pixels, cohort=cohort, opacity_boxes=boxes, spec=spec)


def _truths(spec: PhantomSpec, patients: Draws) -> pd.DataFrame:
    """Label, sex, age, site and shared evidence of each patient.

    Label and sex follow the additive recurrence of the plastic number, a low-discrepancy sequence
    in two dimensions (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"):
    any first n patients are balanced in both, however few they are.
    """
    plastic = 1.32471795724474602596
    start = np.random.default_rng((spec.seed, 2**31)).random(2)
    steps = np.arange(len(patients.keys))[:, None] / np.array([plastic, plastic**2])
    u_label, u_sex = ((start + steps) % 1).T
    label = u_label < spec.prevalence
    # with as many patients in the second hospital as are diseased, phi can reach 1
    p_second = spec.prevalence + spec.site_shortcut * (label - spec.prevalence)
    return pd.DataFrame(
        {
            "label": label.astype(int),
            "sex": np.where(u_sex < 0.5, "F", "M"),
            "site": np.where(patients.uniform() < p_second, "site_b", "site_a"),
            "age": np.clip(np.rint(52 + 17 * patients.normal()), 5, 95),
            "age_missing": patients.uniform() < MISSING_AGE,
            "evidence": patients.normal(),
        }
    )


_LETTERS = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
}


def _glyph(letter: str, scale: int) -> NDArray[np.bool_]:
    rows = [[mark == "#" for mark in row] for row in _LETTERS[letter]]
    return np.kron(np.array(rows), np.ones((scale, scale), bool)).astype(bool)


def _stamp(pixels: NDArray[np.uint8], *, second: NDArray[np.bool_], shift: NDArray[np.float64]) -> None:
    """Put the hospital's marker on each image: a letter in a disc at the right, or a bare one at the left."""
    size = pixels.shape[1]
    scale = max(1, size // 72)
    wide = 11 * scale
    row, column = np.ogrid[:wide, :wide]
    disc = np.where(np.hypot(row - (wide - 1) / 2, column - (wide - 1) / 2) <= wide / 2, 245, 0)
    letter, bare = _glyph("L", scale), np.zeros((wide, wide), int)
    part = (slice(2 * scale, 2 * scale + letter.shape[0]), slice(3 * scale, 3 * scale + letter.shape[1]))
    disc[part] = np.where(letter, 12, disc[part])
    bare[part] = np.where(_glyph("R", scale), 235, 0)
    top = np.rint((0.02 + 0.07 * shift) * size).astype(int)
    edge = max(1, round(0.02 * size))
    for image, is_second, y in zip(pixels, second, top, strict=True):
        mark, x = (bare, edge) if is_second else (disc, size - wide - edge)
        where = image[y : y + wide, x : x + wide]
        where[mark > 0] = mark[mark > 0]


def _repeat_exposures(
    spec: PhantomSpec, pixels: NDArray[np.uint8], frame: pd.DataFrame, boxes: NDArray[np.float64]
) -> None:
    """Replace images by near duplicates of another patient's of the same label, sex and site, in place."""
    if not spec.n_near_duplicates:
        return
    from scipy import ndimage  # likewise

    rng = np.random.default_rng((spec.seed, 2**31 + 1))
    pairs: list[tuple[int, int]] = []
    for _, alike in frame.groupby([f"label_{spec.task}", "sex", "site"], sort=True):
        order = rng.permutation(alike.index.to_numpy())
        pairs += zip(order[::2], order[1::2], strict=False)
    patient = frame["patient_id"].to_numpy()
    pairs = [(source, copy) for source, copy in pairs if patient[source] != patient[copy]]
    if len(pairs) < spec.n_near_duplicates:
        raise InputError(
            f"{spec.n_near_duplicates} near duplicates wanted, but only {len(pairs)} pairs of images of "
            "different patients agree in label, sex and site",
            hint="ask for fewer or for more patients",
        )
    for pick in rng.permutation(len(pairs))[: spec.n_near_duplicates]:
        source, copy = pairs[pick]
        step = rng.integers(-1, 2, size=2) * max(1, spec.size // 128)
        moved = ndimage.shift(pixels[source].astype(np.float32), step, order=0, mode="nearest")
        grey = moved * rng.uniform(0.95, 1.05) + rng.uniform(-4, 4) + rng.normal(0, 1.5, moved.shape)
        pixels[copy] = np.rint(np.clip(grey, 0, 255))
        boxes[copy] = boxes[source] + [step[1], step[0], 0, 0]
        for column in ("view", "truth_score"):
            frame.loc[copy, column] = frame[column].iloc[source]
        frame.loc[copy, "duplicate_of"] = frame["image_id"].iloc[source]
