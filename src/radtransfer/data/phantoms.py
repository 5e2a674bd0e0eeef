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
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from radtransfer.errors import InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

TASKS: Final = {"xray": "pneumonia", "ct": "haemorrhage", "mri": "tumour"}
"""Task of each modality; its label column is ``label_<task>``."""

CONTRAST_SLOPE: Final = 1.1
"""Steepness of the opacity's contrast as a function of the evidence."""

PATIENT_SHARE: Final = 0.5
"""Share of the variance of the evidence that the images of one patient have in common."""

MISSING_AGE: Final = 0.03
"""Share of patients whose age is not recorded."""

_BATCH = 16
"""Images rendered together: their fields stay in a core's cache."""

_N_PATIENT, _N_IMAGE = 48, 32
"""Uniform numbers set aside for each patient and image."""

_OCTAVES = (5, 10, 20, 40)
"""Grid widths of the smooth random fields, coarse to fine."""


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """What to draw, and the truths to plant in it.

    Parameters
    ----------
    modality : {"xray", "ct", "mri"}
        Frontal chest radiograph (pneumonia), axial head CT (haemorrhage) or axial T2-weighted
        brain MRI (tumour).
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
        for name, fits, allowed in (
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
    def task(self) -> str:
        """Name of the task, for instance ``"pneumonia"``."""
        return TASKS[self.modality]

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
        Pixels, row by row as in ``frame``.
    frame : DataFrame
        Columns of a cohort (see :mod:`radtransfer.data.cohort`), and: ``bbox_x``, ``bbox_y``,
        ``bbox_w``, ``bbox_h`` (pixels, left, top, width, height; null without the disease),
        ``truth_score`` (the latent evidence) and ``duplicate_of`` (image it repeats, or null).
    opacity_boxes : ndarray of float64, shape (n_images, 4)
        Box (left, top, width, height) of the site where the opacity is drawn, in both classes: what
        an observer knows who is told where to look.
    spec : PhantomSpec
        What they were made of.
    """

    images: NDArray[np.uint8]
    frame: pd.DataFrame
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
    patients = _Draws([(spec.seed, i) for i in range(spec.n_patients)], _N_PATIENT)
    n_images = 1 + _poisson(patients.uniform(), spec.images_per_patient - 1)
    patient = np.repeat(np.arange(spec.n_patients), n_images)
    number = np.concatenate([np.arange(n) for n in n_images])
    images = _Draws([(spec.seed, int(i), 1 + int(k)) for i, k in zip(patient, number, strict=True)], _N_IMAGE)

    truth = _truths(spec, patients)
    person = truth.loc[patient].reset_index(drop=True)
    shared, own = person["evidence"].to_numpy(), images.normal()
    d_prime = math.sqrt(2) * ndtri(person["sex"].map(spec.subgroup_auc).to_numpy())
    evidence = d_prime * (person["label"].to_numpy() - 0.5) + math.sqrt(PATIENT_SHARE) * shared
    evidence += math.sqrt(1 - PATIENT_SHARE) * own
    ap = images.uniform() < 0.5

    scene = _Scene(
        anatomy=patients.rest(patient),
        exposure=images,
        age=person["age"].to_numpy(dtype=np.float32),
        female=(person["sex"] == "F").to_numpy(),
        ap=ap,
        contrast=expit(CONTRAST_SLOPE * evidence) if lesions else np.zeros(len(evidence)),
        size=spec.size,
    )
    pixels = np.empty((len(patient), spec.size, spec.size), np.uint8)
    for rows, grey in _RENDER[spec.modality](scene):
        pixels[rows] = np.rint(np.clip(grey, 0, 1) * 255)
    _stamp(pixels, second=(person["site"] == "site_b").to_numpy(), shift=images.uniform())

    boxes = np.column_stack(scene.box)
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
    _repeat_exposures(spec, pixels, frame, boxes)
    diseased = frame[f"label_{spec.task}"] == 1
    for column, name in enumerate("xywh"):
        frame[f"bbox_{name}"] = pd.Series(boxes[:, column]).where(diseased).astype("Float64")
    return PhantomSet(images=pixels, frame=frame, opacity_boxes=boxes, spec=spec)


class _Draws:
    """Table of uniform numbers, one row for each key, read column by column.

    A row depends on its key only, which makes every phantom independent of the others.
    """

    def __init__(self, keys: list[tuple[int, ...]], columns: int) -> None:
        self.keys = keys
        self._table = np.stack([np.random.default_rng(key).random(columns) for key in keys])
        self._next = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Next column, uniform in [low, high)."""
        self._next += 1
        return low + (high - low) * self._table[:, self._next - 1]

    def normal(self) -> NDArray[np.float64]:
        """Next column, standard normal."""
        return np.asarray(ndtri(np.clip(self.uniform(), 1e-12, 1 - 1e-12)), dtype=np.float64)

    def rest(self, rows: NDArray[np.intp]) -> _Draws:
        """Columns not read yet, with rows picked or repeated."""
        other = object.__new__(_Draws)
        other.keys, other._table, other._next = [self.keys[i] for i in rows], self._table[rows], self._next
        return other


def _poisson(uniform: NDArray[np.float64], mean: float) -> NDArray[np.intp]:
    """Poisson numbers by inversion: one uniform number each, whatever the mean."""
    k = np.arange(int(mean + 10 * math.sqrt(mean) + 10))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    mass = np.exp(k * math.log(mean) - mean - log_factorial) if mean > 0 else (k == 0).astype(float)
    return np.searchsorted(np.cumsum(mass), uniform, side="right").clip(max=k[-1])


def _truths(spec: PhantomSpec, patients: _Draws) -> pd.DataFrame:
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


# --- drawing ---------------------------------------------------------------------------------
# Coordinates run from -1 to 1, x to the right of the image (the patient's left), y downwards.
# Parameters have shape (n, 1, 1), fields (n, size, size).


class _Scene:
    """Parameters of all images, handed out in batches with coordinates and random fields."""

    def __init__(
        self,
        *,
        anatomy: _Draws,
        exposure: _Draws,
        age: Array,
        female: NDArray[np.bool_],
        ap: NDArray[np.bool_],
        contrast: NDArray[np.float64],
        size: int,
    ) -> None:
        self.anatomy, self.exposure, self.size = anatomy, exposure, size
        self.age, self.female, self.ap, self.contrast = age, female, ap, contrast
        self.columns: dict[str, NDArray[np.float64]] = {}
        self.box: tuple[NDArray[np.float64], ...] = ()

    def place_opacity(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        radii: tuple[NDArray[np.float64], NDArray[np.float64]],
        tilt: NDArray[np.float64],
    ) -> None:
        """Ellipse that holds the opacity, in image coordinates, and its bounding box in pixels."""
        self.columns |= {"les_x": x, "les_y": y, "les_a": radii[0], "les_b": radii[1], "les_tilt": tilt}
        half_w = np.hypot(radii[0] * np.cos(tilt), radii[1] * np.sin(tilt))
        half_h = np.hypot(radii[0] * np.sin(tilt), radii[1] * np.cos(tilt))
        scale = self.size / 2
        self.box = (
            (x - half_w + 1) * scale,
            (y - half_h + 1) * scale,
            half_w * self.size,
            half_h * self.size,
        )

    def batches(self) -> Iterator[tuple[slice, _Frame]]:
        """Slices of images with what is needed to draw them."""
        columns = self.columns | {
            "age": self.age,
            "female": self.female,
            "ap": self.ap,
            "contrast": self.contrast,
        }
        for first in range(0, len(self.age), _BATCH):
            rows = slice(first, min(first + _BATCH, len(self.age)))
            part = {name: np.asarray(v[rows], np.float32)[:, None, None] for name, v in columns.items()}
            yield rows, _Frame(part, self.exposure.keys[rows], self.size)


class _Frame:
    """One batch: parameters as attributes, coordinates, random fields."""

    def __init__(self, parameters: dict[str, Array], keys: list[tuple[int, ...]], size: int) -> None:
        self._parameters, self.size = parameters, size
        axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        self.x, self.y = axis[None, None, :], axis[None, :, None]
        lengths = [m * m for m in _OCTAVES]
        need = 2 * sum(lengths) + 2 * size * size
        # a stream of its own: the parameters of the image are not touched by the picture's size
        noise = np.stack([np.random.default_rng((*key, 7)).standard_normal(need, np.float32) for key in keys])
        self._coarse, self._pixels = np.split(noise, [2 * sum(lengths)], axis=1)

    def __getattr__(self, name: str) -> Array:
        return self._parameters[name]

    def pixel_noise(self, channel: int) -> Array:
        """Independent standard normal noise in every pixel; channel 0 or 1."""
        n = self.size * self.size
        return self._pixels[:, channel * n : (channel + 1) * n].reshape(-1, self.size, self.size)

    def texture(self, channel: int, weights: tuple[float, ...]) -> Array:
        """Sum of smooth random fields, one for each octave; channel 0 or 1."""
        start = channel * sum(m * m for m in _OCTAVES)
        total: Array = np.zeros(1, np.float32)
        for m, weight in zip(_OCTAVES, weights, strict=True):
            if weight:
                grid = self._coarse[:, start : start + m * m].reshape(-1, m, m)
                basis = _spline_basis(self.size, m)
                total = total + basis @ (grid * np.float32(weight)) @ basis.T
            start += m * m
        return total

    def opacity(self) -> Array:
        """Contrast of the opacity: a biweight bump of its ellipse, exactly 0 outside."""
        dx, dy = self.x - self.les_x, self.y - self.les_y
        c, s = np.cos(self.les_tilt), np.sin(self.les_tilt)
        r2 = ((c * dx + s * dy) / self.les_a) ** 2 + ((c * dy - s * dx) / self.les_b) ** 2
        return np.asarray(self.contrast * np.clip(1 - r2, 0, None) ** 2)


@cache
def _spline_basis(size: int, knots: int) -> Array:
    """Cubic B-spline basis, shape (size, knots), rows scaled to keep unit variance of a white grid."""
    position = (np.arange(size) + 0.5) / size * (knots - 3) + 1
    distance = np.abs(position[:, None] - np.arange(knots))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
    basis = np.where(distance < 1, near, far)
    basis /= np.sqrt((basis**2).sum(axis=1, keepdims=True))
    return np.asarray(basis, np.float32)


def _step(z: Array, width: float | Array) -> Array:
    """Smooth step from 0 (z << 0) to 1 (z >> 0) over about ``width``."""
    return np.asarray(0.5 + 0.5 * np.tanh(z * (2 / width)))


def _bump(z: Array, width: float | Array) -> Array:
    """Gaussian bump of standard deviation ``width``."""
    return np.asarray(np.exp(-0.5 * (z / width) ** 2))


def _chest(scene: _Scene) -> Iterator[tuple[slice, Array]]:
    """Frontal chest radiographs.

    Fields are path lengths in units of attenuation; transmission follows Beer and Lambert, the
    noise is that of the quanta that arrive (relative variance 1 / transmission), and the film
    shows the logarithm through an S-shaped characteristic curve.
    """
    body, shot = scene.anatomy, scene.exposure
    ap, female, age = scene.ap, scene.female, scene.age
    side = np.where(body.uniform() < 0.5, -1.0, 1.0)
    les_y = shot.uniform(-0.32, 0.36)
    scale = body.uniform(0.93, 1.07) * np.where(female, 0.97, 1.02)
    shift_x, shift_y = shot.uniform(-0.07, 0.07), shot.uniform(-0.08, 0.06)
    scene.columns = {
        "scale": scale,
        "shift_x": shift_x,
        "shift_y": shift_y,
        "lean": shot.uniform(-0.06, 0.06),
        "stout": body.uniform(0, 1),
        "lung_w": body.uniform(0.6, 0.68),
        "apex": body.uniform(-0.78, -0.7),
        # supine patients breathe in less deeply, and their heart is magnified
        "dome": body.uniform(0.42, 0.56) - 0.09 * ap - shot.uniform(0, 0.08),
        "heart": body.uniform(0.26, 0.34) + 0.0008 * (age - 50) + 0.04 * ap,
        "knob": body.uniform(0.5, 1.0) + 0.01 * (age - 50),
        "rib_gap": body.uniform(0.155, 0.185),
        "rib_at": body.uniform(0, 1),
        "rib": body.uniform(0.7, 1.2),
        "clavicle": body.uniform(-0.62, -0.54) - 0.06 * ap,
        "breast": np.where(female, body.uniform(0.3, 1.0), 0.0),
        "breast_y": body.uniform(0.3, 0.45),
        "vessels": body.uniform(0.8, 1.3),
        "window": shot.uniform(1.75, 2.1) + 0.15 * ap,
        "gamma": shot.uniform(1.25, 1.6) - 0.25 * ap,
        "noise": shot.uniform(0.010, 0.018) + 0.012 * ap,
        "haze": shot.uniform(-0.08, 0.08),
    }
    radii = (shot.uniform(0.13, 0.19) * scale, shot.uniform(0.15, 0.23) * scale)
    les_x = side * shot.uniform(0.38, 0.46)
    scene.place_opacity(les_x * scale + shift_x, les_y * scale + shift_y, radii, shot.uniform(-0.5, 0.5))

    for rows, f in scene.batches():
        y = (f.y - f.shift_y) / f.scale
        x = (f.x - f.shift_x) / f.scale - f.lean * y
        across = np.abs(x)
        left = _step(x, 0.05)

        shoulder = 0.2 + (0.72 + 0.12 * f.stout) * _step(y + 0.74, 0.3) - 0.1 * _step(y + 0.1, 0.5)
        trunk = np.sqrt(np.clip(1 - (across / shoulder) ** 2, 0, 1)) ** 0.7
        arm = np.sqrt(np.clip(1 - ((across - 1.1 - 0.06 * f.stout) / 0.2) ** 2, 0, 1)) * _step(y + 0.5, 0.2)
        length = 2.1 * trunk + 0.9 * arm

        depth = np.clip((y - f.apex) / 0.9, 0, 1)
        lateral = f.lung_w * np.sqrt(np.clip(1 - (1 - depth) ** 3, 0.0, 1)) + 0.03
        medial = 0.11 + 0.05 * depth
        dome = f.dome - 0.05 * (1 - left) + 0.30 * ((across - 0.32) / 0.45) ** 2
        lung = _step(lateral - across, 0.06) * _step(across - medial, 0.05) * _step(dome - y, 0.035)
        lung *= _step(y - f.apex, 0.08)
        fullness = np.sqrt(np.clip(1 - ((across - 0.36) / 0.42) ** 2, 0.15, 1))
        air = lung * (0.75 + 0.55 * fullness) * 1.05

        tilt_x, tilt_y = 0.86 * (x - 0.14) + 0.5 * (y - 0.22), 0.86 * (y - 0.22) - 0.5 * (x - 0.14)
        heart_r = np.sqrt((tilt_x / (f.heart * 1.18)) ** 2 + (tilt_y / f.heart) ** 2)
        heart = _step(1 - heart_r, 0.12)
        vessel_root = _bump(np.hypot(x - 0.13, y + 0.33), 0.075) * f.knob
        spine = _bump(across, 0.075) * (1 + 0.12 * np.cos(y * (2 * np.pi / 0.15)))
        mediastinum = _step(0.13 - across, 0.07) * _step(0.5 - np.abs(y + 0.2), 0.3)
        trachea = _bump(x + 0.005, 0.03) * _step(-0.28 - y, 0.12) * _step(y + 0.95, 0.2)
        air *= 1 - 0.8 * heart

        cage = (
            _step(lateral + 0.05 - across, 0.03)
            * _step(f.dome + 0.28 - y, 0.1)
            * _step(y - f.apex + 0.06, 0.05)
        )
        arc = np.clip(across - 0.08, 0, None)
        back = ((y - 1.15 * arc**2 + 0.22 * arc) / f.rib_gap + f.rib_at) * (2 * np.pi)
        front = ((y + 0.55 * arc - 0.6 * arc**2) / (1.25 * f.rib_gap) + f.rib_at) * (2 * np.pi)
        wave = np.cos(back)
        # a rib's cortex is seen on edge: brighter rims than middle
        rib = np.clip(wave + 0.15, 0, None) * (1.25 - 0.6 * np.clip(wave, 0, 1))
        ribs = (
            cage
            * f.rib
            * (0.17 * rib + 0.07 * np.clip(np.cos(front) - 0.1, 0, None) * _step(across - 0.2, 0.1))
        )
        rim = cage * _bump(across - lateral - 0.015, 0.02) * 0.12
        bar = y - f.clavicle + 0.20 * across - 0.10 * np.sin(across * 5)
        clavicle = (
            _step(0.028 - np.abs(bar), 0.02) * _step(across - 0.05, 0.03) * _step(0.66 - across, 0.05) * 0.24
        )
        scapula = (
            0.14
            * _step(0.17 - np.abs(across - 0.74 + 0.15 * (y + 0.3)), 0.05)
            * _step(0.3 - np.abs(y + 0.38), 0.08)
        )
        humerus = 0.3 * _step(0.11 - np.hypot(across - 0.92, y + 0.5), 0.05)

        breast_r = np.hypot((across - 0.42) / 0.34, (y - f.breast_y) / 0.3)
        breasts = 0.42 * f.breast * np.sqrt(np.clip(1 - breast_r**2, 0, 1)) * _step(y - f.breast_y + 0.3, 0.5)

        coarse = f.texture(0, (0.7, 0.5, 0.0, 0.0))
        ridges = np.clip(1.1 - np.abs(f.texture(1, (0.0, 0.45, 0.6, 0.35))) * 1.4, 0, None) ** 2
        hilum = _bump(across - 0.2, 0.13) * _bump(y + 0.02, 0.2)
        markings = lung * f.vessels * ((0.05 + 0.24 * hilum) * ridges + 0.16 * hilum + 0.03 * coarse)

        opacity = lung * f.opacity() * (1 + 0.22 * coarse + 0.18 * (ridges - 0.5)) * 0.75

        length = length * (1 + 0.03 * coarse) - air + 0.75 * heart * trunk + 0.3 * vessel_root
        length = length + 0.28 * spine + 0.32 * mediastinum - 0.16 * trachea + breasts
        length = np.clip(length, 0, None) + (ribs + rim + clavicle + scapula + humerus) * np.clip(
            trunk * 2, 0, 1
        )
        length = length + markings + opacity
        # photons behind 2 cm more are fewer: noise grows with what has been passed
        length = length + f.noise * np.exp(0.5 * length) * f.pixel_noise(0)
        bright = np.tanh((length + f.haze * (1 + f.y) * 0.5 - f.window * 0.82) * f.gamma * 0.72)
        yield rows, 0.50 + 0.46 * np.asarray(bright, np.float32)


def _head(scene: _Scene) -> None:
    """Geometry shared by head CT and MRI: pose, skull, ventricles, site of the lesion."""
    body, shot, age = scene.anatomy, scene.exposure, scene.age
    size = body.uniform(0.92, 1.06) * np.where(scene.female, 0.96, 1.02)
    width, height = 0.66 * size, 0.82 * size * body.uniform(0.95, 1.04)
    turn, shift_x, shift_y = shot.uniform(-0.2, 0.2), shot.uniform(-0.06, 0.06), shot.uniform(-0.05, 0.05)
    scene.columns = {
        "width": width,
        "height": height,
        "turn": turn,
        "shift_x": shift_x,
        "shift_y": shift_y,
        "egg": body.uniform(0.06, 0.16),
        "skull": body.uniform(0.085, 0.12),
        # brains shrink with age: wider ventricles and sulci
        "ventricle": np.clip(body.uniform(0.03, 0.06) + 0.0007 * (age - 45), 0.02, 0.11),
        "sulci": np.clip(body.uniform(0.35, 0.75) + 0.008 * (age - 45), 0.1, 1.3),
        "horn": body.uniform(0.55, 0.85),
        "asym": body.uniform(-0.15, 0.15),
        "noise": shot.uniform(0.8, 1.3),
        "gain": shot.uniform(0.92, 1.08),
    }
    # sites lie in the hemispheres' white matter and deep nuclei, off the midline
    u = np.where(body.uniform() < 0.5, -1.0, 1.0) * shot.uniform(0.28, 0.52)
    v = shot.uniform(-0.42, 0.45)
    dx, dy = u * width, v * height
    x = np.cos(turn) * dx - np.sin(turn) * dy + shift_x
    y = np.sin(turn) * dx + np.cos(turn) * dy + shift_y
    radii = (shot.uniform(0.11, 0.19) * size, shot.uniform(0.12, 0.2) * size)
    scene.place_opacity(x, y, radii, shot.uniform(-1.5, 1.5))


def _head_fields(f: _Frame) -> dict[str, Array]:
    """Tissue maps of a head, each 0 to 1."""
    c, s = np.cos(f.turn), np.sin(f.turn)
    dx, dy = f.x - f.shift_x, f.y - f.shift_y
    u, v = (c * dx + s * dy) / f.width, (c * dy - s * dx) / f.height
    u = u / (1 - f.egg + f.egg * v)
    wobble = f.texture(0, (0.8, 0.4, 0.0, 0.0))
    r = np.sqrt(u * u + v * v) + 0.012 * wobble
    across = np.abs(u + 0.01 * wobble)
    inner = 1 - f.skull
    folds = np.abs(f.texture(1, (0.0, 0.3, 0.8, 0.45)))
    lateral = across - 0.07 - f.horn * v * v
    reach = np.sqrt(np.clip(1 - (v / 0.42) ** 2, 0, 1))
    half = f.ventricle * (1 + f.asym * np.sign(u)) * (0.4 + 0.9 * reach) * (1 + 0.5 * np.abs(v))
    horns = _step(half - np.abs(lateral), 0.035) * _step(0.40 - np.abs(v), 0.05)
    third = _step(0.012 + 0.2 * f.ventricle - across, 0.02) * _step(0.11 - np.abs(v - 0.1), 0.04)
    brain = _step(inner - 0.02 - r, 0.02)
    depth = _step(r - 0.62, 0.25)
    fissure = _bump(across, 0.012 + 0.012 * f.sulci) * _step(np.abs(v) - 0.42, 0.1)
    sylvian = _bump(np.hypot(across - 0.62, (v + 0.08) * 0.6) - 0.03, 0.025) * _step(across - 0.45, 0.1)
    clefts = np.clip(1 - folds / (0.16 + 0.18 * f.sulci), 0, 1) * _step(r - 0.7 + 0.1 * f.sulci, 0.12)
    nuclei = _bump(np.hypot((across - 0.21 - 0.1 * v) / 0.09, (v - 0.02) / 0.2), 0.6)
    return {
        "r": r,
        "across": across,
        "v": v,
        "brain": brain,
        "bone": _step(r - inner, 0.02) * _step(1 - r, 0.02),
        "scalp": _step(r - 1.0, 0.02) * _step(1.06 - r, 0.02),
        "csf": np.clip(horns + third + f.sulci * (0.7 * clefts + 0.6 * sylvian + 0.8 * fissure), 0, 1),
        "cortex": np.clip(_step(0.42 - folds, 0.25) * depth + _step(r - inner + 0.1, 0.05) + nuclei, 0, 1),
    }


def _ct(scene: _Scene) -> Iterator[tuple[slice, Array]]:
    """Axial head CT: Hounsfield units through the brain window (level 40, width 80)."""
    _head(scene)
    for rows, f in scene.batches():
        t = _head_fields(f)
        tissue = 27 + 9 * t["cortex"] + 1.5 * f.texture(0, (0.5, 0.5, 0.0, 0.0))
        tissue = tissue + (8 - tissue) * t["csf"]
        falx = 16 * _bump(t["across"], 0.012) * _step(np.abs(t["v"]) - 0.4, 0.1)
        blood = 40 * f.opacity() * (1 + 0.1 * f.texture(1, (0.0, 0.4, 0.4, 0.0)))
        # 0 HU and less is black in this window: air needs no deeper value
        units = t["brain"] * (tissue + falx + blood) + 950 * t["bone"] + 45 * t["scalp"]
        holder = np.abs(np.hypot(f.x - f.shift_x, f.y + 0.35) - 1.28)
        units = units + 70 * _step(0.012 - holder, 0.02) * _step(f.y - 0.35, 0.05)
        grain = f.texture(1, (0.0, 0.0, 0.0, 1.6)) + 3.2 * f.pixel_noise(0)
        units = units + f.noise * grain * _step(1.05 - t["r"], 0.1)
        yield rows, np.asarray(units * f.gain / 80, np.float32)


def _mri(scene: _Scene) -> Iterator[tuple[slice, Array]]:
    """Axial T2-weighted brain MRI: coil shading, and the Rician noise of a magnitude image.

    Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", Magn Reson Med 1995;34:910-914.
    """
    _head(scene)
    for rows, f in scene.batches():
        t = _head_fields(f)
        tissue = 0.30 + 0.17 * t["cortex"] + 0.012 * f.texture(0, (0.5, 0.5, 0.0, 0.0))
        oedema = f.opacity()
        tissue = tissue + 0.55 * oedema * (1 + 0.15 * f.texture(1, (0.0, 0.5, 0.4, 0.0)))
        tissue = tissue + (0.92 - tissue) * t["csf"]
        rim = 0.75 * _bump(t["r"] - 1 + f.skull, 0.018)
        signal = t["brain"] * tissue + rim + 0.6 * t["scalp"] + 0.03 * t["bone"]
        shading = 1 + 0.07 * f.texture(0, (1.0, 0.0, 0.0, 0.0)) + 0.06 * f.y
        signal = signal * shading * f.gain
        sigma = 0.024 * f.noise
        yield (
            rows,
            np.asarray(np.hypot(signal + sigma * f.pixel_noise(0), sigma * f.pixel_noise(1)), np.float32),
        )


_RENDER: dict[str, Callable[[_Scene], Iterator[tuple[slice, Array]]]] = {
    "xray": _chest,
    "ct": _ct,
    "mri": _mri,
}

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
    rng = np.random.default_rng((spec.seed, 2**31 + 1))
    patient = frame["patient_id"].to_numpy()
    pairs: list[tuple[int, int]] = []
    for _, rows in frame.groupby([f"label_{spec.task}", "sex", "site"], sort=True):
        waiting: list[int] = []
        for row in rng.permutation(rows.index.to_numpy()):
            strangers = [i for i in waiting if patient[i] != patient[row]]
            if strangers:
                waiting.remove(strangers[0])
                pairs.append((strangers[0], int(row)))
            else:
                waiting.append(int(row))
    if len(pairs) < spec.n_near_duplicates:
        raise InputError(
            f"{spec.n_near_duplicates} near duplicates wanted, but only {len(pairs)} pairs of images of "
            "different patients agree in label, sex and site",
            hint="ask for fewer or for more patients",
        )
    for pick in rng.permutation(len(pairs))[: spec.n_near_duplicates]:
        source, copy = pairs[pick]
        step = rng.integers(-1, 2, size=2) * max(1, spec.size // 128)
        moved = np.pad(pixels[source].astype(np.float32), np.abs(step).max() or 1, mode="edge")
        pad = np.abs(step).max() or 1
        moved = moved[pad - step[0] :, pad - step[1] :][: spec.size, : spec.size]
        grey = moved * rng.uniform(0.95, 1.05) + rng.uniform(-4, 4) + rng.normal(0, 1.5, moved.shape)
        pixels[copy] = np.rint(np.clip(grey, 0, 255))
        boxes[copy] = boxes[source] + [step[1], step[0], 0, 0]
        for column, origin in (
            ("view", "view"),
            ("truth_score", "truth_score"),
            ("duplicate_of", "image_id"),
        ):
            frame.loc[copy, column] = frame[origin].iloc[source]
