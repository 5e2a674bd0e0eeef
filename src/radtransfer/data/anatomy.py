"""Drawing of the phantoms: frontal chest radiographs, axial head CT and T2-weighted brain MRI.

Anatomy is a sum of smooth implicit shapes on coordinates that run from -1 to 1, x to the right of
the image (the patient's left), y downwards. Parameters of a batch of images have shape (n, 1, 1),
fields (n, size, size), all float32. What is drawn depends on the coordinates only, so that an
image of another size shows the same patient; the noise alone belongs to the pixels.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

BATCH: Final = 8
"""Images drawn together: few enough that their fields stay in a core's cache."""

OCTAVES: Final = (5, 10, 20, 40)
"""Grid widths of the smooth random fields, coarse to fine."""


class Draws:
    """Table of uniform numbers, one row for each key, read column by column.

    A row depends on its key only, which makes every phantom independent of the others.

    Parameters
    ----------
    keys : list of tuple of int
        Seeds of the rows.
    columns : int
        Numbers set aside for each.
    """

    def __init__(self, keys: list[tuple[int, ...]], columns: int) -> None:
        self.keys = keys
        self._table = np.stack([np.random.default_rng(key).random(columns) for key in keys])
        self._next = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Next column, uniform in [low, high), shape (n_keys,)."""
        self._next += 1
        return low + (high - low) * self._table[:, self._next - 1]

    def normal(self) -> NDArray[np.float64]:
        """Next column, standard normal, shape (n_keys,)."""
        return np.asarray(ndtri(np.clip(self.uniform(), 1e-12, 1 - 1e-12)), dtype=np.float64)

    def rest(self, rows: NDArray[np.intp]) -> Draws:
        """Columns not read yet, with rows picked or repeated."""
        other = object.__new__(Draws)
        other.keys, other._table, other._next = [self.keys[i] for i in rows], self._table[rows], self._next
        return other


class Scene:
    """Parameters of all images, and the batches they are drawn in.

    Parameters
    ----------
    anatomy, exposure : Draws
        Random numbers, one row an image: those of its patient, and its own.
    age : ndarray of float, shape (n,)
        Years.
    female, ap : ndarray of bool, shape (n,)
        Sex; whether the beam goes from front to back (chest only).
    contrast : ndarray of float, shape (n,)
        Contrast of the opacity, 0 (none) to 1.
    size : int
        Height and width, pixels.

    Attributes
    ----------
    box : ndarray of float64, shape (n, 4)
        Left, top, width and height of the opacity in pixels; set by drawing.
    """

    def __init__(
        self,
        *,
        anatomy: Draws,
        exposure: Draws,
        age: Array,
        female: NDArray[np.bool_],
        ap: NDArray[np.bool_],
        contrast: Array,
        size: int,
    ) -> None:
        self.anatomy, self.exposure, self.size = anatomy, exposure, size
        self.age, self.female, self.ap, self.contrast = age, female, ap, contrast
        self.box: NDArray[np.float64] = np.empty((len(age), 4))

    def place_opacity(
        self, *, x: Array, y: Array, radii: tuple[Array, Array], tilt: Array
    ) -> dict[str, Array]:
        """Record the bounding box of the ellipse that holds the opacity, and return its parameters."""
        half_w = np.hypot(radii[0] * np.cos(tilt), radii[1] * np.sin(tilt))
        half_h = np.hypot(radii[0] * np.sin(tilt), radii[1] * np.cos(tilt))
        self.box[:] = np.column_stack([x - half_w + 1, y - half_h + 1, 2 * half_w, 2 * half_h]) * (
            self.size / 2
        )
        return {"site_x": x, "site_y": y, "site_a": radii[0], "site_b": radii[1], "site_tilt": tilt}

    def batches(self, parameters: dict[str, Array]) -> Iterator[tuple[slice, Frame]]:
        """Slices of images, and what is needed to draw them."""
        for first in range(0, len(self.age), BATCH):
            rows = slice(first, min(first + BATCH, len(self.age)))
            part = {"contrast": self.contrast} | parameters
            columns = {name: np.asarray(v[rows], np.float32)[:, None, None] for name, v in part.items()}
            yield rows, Frame(columns, self.exposure.keys[rows], self.size)


class Frame:
    """One batch of images: parameters as attributes, coordinates ``x`` and ``y``, random fields."""

    def __init__(self, parameters: dict[str, Array], keys: list[tuple[int, ...]], size: int) -> None:
        self._parameters, self._size = parameters, size
        axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        self.x, self.y = axis[None, None, :], axis[None, :, None]
        # a stream of its own beside the parameters'; the fields come first, whatever the size
        self._noise = [np.random.default_rng((*key, 7)) for key in keys]
        self._grids = self._normal(2 * sum(m * m for m in OCTAVES))

    def __getattr__(self, name: str) -> Array:
        return self._parameters[name]

    def _normal(self, n: int) -> Array:
        return np.stack([rng.standard_normal(n, np.float32) for rng in self._noise])

    def pixel_noise(self) -> Array:
        """Independent standard normal noise in every pixel, new at each call."""
        return self._normal(self._size**2).reshape(-1, self._size, self._size)

    def texture(self, channel: int, weights: tuple[float, ...]) -> Array:
        """Smooth random field, a weighted sum of octaves of unit variance; channel 0 or 1."""
        start = channel * sum(m * m for m in OCTAVES)
        total: Array = np.zeros(1, np.float32)
        for m, weight in zip(OCTAVES, weights, strict=True):
            if weight:
                grid = self._grids[:, start : start + m * m].reshape(-1, m, m)
                basis = _spline_basis(self._size, m)
                total = total + basis @ (grid * np.float32(weight)) @ basis.T
            start += m * m
        return total

    def opacity(self) -> Array:
        """Contrast of the opacity: a biweight bump on its ellipse, exactly 0 outside."""
        dx, dy = self.x - self.site_x, self.y - self.site_y
        c, s = np.cos(self.site_tilt), np.sin(self.site_tilt)
        u, v = (c * dx + s * dy) / self.site_a, (c * dy - s * dx) / self.site_b
        inside = np.clip(1 - _square(u) - _square(v), 0, 1)
        return self.contrast * _square(inside)


@cache
def _spline_basis(size: int, knots: int) -> Array:
    """Cubic B-spline basis, shape (size, knots), rows scaled to keep the variance of a white grid."""
    position = (np.arange(size) + 0.5) / size * (knots - 3) + 1
    distance = np.abs(position[:, None] - np.arange(knots))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, 1) ** 3 / 6
    basis = np.where(distance < 1, near, far)
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=1, keepdims=True)), np.float32)


def _square(z: Array) -> Array:
    return z * z


def _norm(u: Array, v: Array) -> Array:
    """Euclidean length; several times faster than ``np.hypot``, which guards against overflow."""
    return np.asarray(np.sqrt(_square(u) + _square(v)))


def _above(z: Array, width: float) -> Array:
    """Smooth step (3 t^2 - 2 t^3) from 0 to 1 around z = 0, of slope 1 / ``width`` there."""
    t = np.clip(z * (1 / (1.5 * width)) + 0.5, 0, 1)
    return np.asarray(_square(t) * (3 - 2 * t))


def _bump(z: Array, width: float | Array) -> Array:
    """Gaussian bump of standard deviation ``width``."""
    return np.asarray(np.exp(_square(z / width) * -0.5))


def _dome(z: Array) -> Array:
    """Path through a cylinder: sqrt(1 - z^2), 0 outside."""
    return np.asarray(np.sqrt(np.clip(1 - _square(z), 0, 1)))


def draw_chest(scene: Scene) -> Iterator[tuple[slice, Array]]:
    """Frontal chest radiographs, for instance with a consolidation.

    Fields are path lengths in units of attenuation. Transmission follows Beer and Lambert, the
    noise is that of the quanta that arrive (relative variance 1 / transmission), and the film
    shows the logarithm through an S-shaped characteristic curve. In AP (bedside) images the
    lungs are less full, the heart is magnified, contrast is lower and noise higher.

    Parameters
    ----------
    scene : Scene
        What to draw; its ``box`` is set.

    Yields
    ------
    rows : slice
        Images of this batch.
    grey : ndarray of float32, shape (n_rows, size, size)
        0 is black, 1 white; may go beyond.
    """
    body, shot, ap, age = scene.anatomy, scene.exposure, scene.ap, scene.age
    scale = body.uniform(0.95, 1.08) * np.where(scene.female, 0.97, 1.02)
    shift_x, shift_y = shot.uniform(-0.07, 0.07), shot.uniform(-0.06, 0.06)
    side = np.where(body.uniform() < 0.5, -1.0, 1.0)
    parameters = {
        "scale": scale,
        "shift_x": shift_x,
        "shift_y": shift_y,
        "lean": shot.uniform(-0.06, 0.06),
        "stout": body.uniform(),
        "lung_width": body.uniform(0.60, 0.68),
        "apex": body.uniform(-0.80, -0.72),
        "dome": body.uniform(0.44, 0.56) - 0.10 * ap - shot.uniform(0, 0.08),
        "heart": body.uniform(0.27, 0.33) + 0.0008 * (age - 50) + 0.035 * ap,
        "knob": body.uniform(0.5, 1.0) + 0.01 * (age - 50),
        "rib_gap": body.uniform(0.155, 0.185),
        "rib_phase": body.uniform(),
        "rib": body.uniform(0.8, 1.25),
        "clavicle": body.uniform(-0.60, -0.53) - 0.07 * ap,
        "stomach": np.where(body.uniform() < 0.5, body.uniform(0.3, 1.0), 0.0),
        "breast": np.where(scene.female, body.uniform(0.3, 1.0), 0.0),
        "breast_y": body.uniform(0.30, 0.45),
        "vessels": body.uniform(0.8, 1.3),
        "branching": body.uniform(0, 6.28),
        "level": shot.uniform(1.50, 1.68) + 0.08 * ap,
        "slope": shot.uniform(1.10, 1.30) - 0.20 * ap,
        "noise": shot.uniform(0.010, 0.018) + 0.012 * ap,
        "heel": shot.uniform(-0.06, 0.06),
    }
    parameters |= scene.place_opacity(
        x=side * shot.uniform(0.34, 0.44) * scale + shift_x,
        # the heart leaves less room on the left
        y=(-0.36 + np.where(side > 0, 0.36, 0.66) * shot.uniform()) * scale + shift_y,
        radii=(shot.uniform(0.20, 0.28) * scale, shot.uniform(0.24, 0.34) * scale),
        tilt=shot.uniform(-0.5, 0.5),
    )
    for rows, f in scene.batches(parameters):
        y = (f.y - f.shift_y) / f.scale
        x = (f.x - f.shift_x) / f.scale - f.lean * y
        across = np.abs(x)
        left = _above(x, 0.05)

        half_width = 0.22 + (0.82 + 0.12 * f.stout) * _above(y + 0.72, 0.34) - 0.10 * _above(y + 0.1, 0.5)
        trunk = np.sqrt(_dome(across / half_width))
        arm = _dome((across - 1.16 - 0.06 * f.stout) / 0.2) * _above(y + 0.5, 0.2)

        depth = np.clip((y - f.apex) / 0.95, 0, 1)
        lateral = f.lung_width * np.sqrt(1 - (1 - depth) * _square(1 - depth)) + 0.03
        floor = f.dome - 0.05 * (1 - left) + 0.30 * _square((across - 0.32) / 0.45)
        lung = _above(lateral - across, 0.06) * _above(across - 0.11 - 0.05 * depth, 0.06)
        lung = lung * _above(floor - y, 0.035) * _above(y - f.apex, 0.08)

        u, v = 0.82 * (x - 0.13) + 0.57 * (y - 0.24), 0.82 * (y - 0.24) - 0.57 * (x - 0.13)
        heart = _above(1 - _square(u / (1.28 * f.heart)) - _square(v / (0.90 * f.heart)), 0.30)
        knob = _bump(_norm(x - 0.12, y + 0.34), 0.07) * f.knob
        mediastinum = _above(0.13 - across, 0.07) * _above(0.5 - np.abs(y + 0.2), 0.3)
        spine = _bump(across, 0.07) * (1 + 0.14 * np.cos(y * (6.28 / 0.15)))
        trachea = _bump(x + 0.005, 0.028) * (_above(-0.28 - y, 0.12) * _above(y + 0.95, 0.2))
        aerated = lung * (1 - 0.88 * heart)
        air = aerated * (0.62 + 0.50 * np.sqrt(np.clip(1 - _square((across - 0.36) / 0.42), 0.15, 1)))
        bubble = f.stomach * _above(1 - _norm((x - 0.36) / 0.15, (y - floor - 0.09) / 0.055), 0.3)
        abdomen = _above(y - floor, 0.10) * _above(y - 0.1, 0.2)

        # ribs run down and outwards at the back, down and inwards in front
        out = np.clip(across - 0.08, 0, 1)
        behind = np.cos(((y - out * (1.15 * out - 0.22)) / f.rib_gap + f.rib_phase) * 6.28)
        before = np.cos(((y + out * (0.55 - 0.6 * out)) / (1.25 * f.rib_gap) + f.rib_phase) * 6.28)
        cage = (
            _above(lateral + 0.05 - across, 0.03) * _above(floor + 0.25 - y, 0.1) * _above(y - f.apex, 0.06)
        )
        # the cortex of a rib is seen on edge: its rims are brighter than its middle
        bone = np.clip(behind + 0.15, 0, 1) * (1.25 - 0.6 * np.clip(behind, 0, 1)) * 0.21
        bone = bone + 0.09 * np.clip(before - 0.1, 0, 1) * _above(across - 0.2, 0.1)
        bone = cage * (
            f.rib * bone * _above(across - 0.06, 0.06) + 0.14 * _bump(across - lateral - 0.015, 0.02)
        )
        bar = np.abs(y - f.clavicle + 0.22 * across - 0.04 * np.sin(across * 7))
        bone = bone + 0.26 * _above(0.03 - bar, 0.02) * _above(across - 0.07, 0.03) * _above(
            0.72 - across, 0.05
        )
        blade = _above(0.16 - np.abs(across - 0.76 + 0.15 * y), 0.05) * _above(0.26 - np.abs(y + 0.40), 0.10)
        bone = bone + 0.15 * blade + 0.3 * _above(0.12 - _norm(across - 0.93, y + 0.50), 0.05)

        breast = f.breast * _dome(_norm((across - 0.42) / 0.34, (y - f.breast_y) / 0.3))

        mottle = f.texture(0, (0.7, 0.5, 0.0, 0.0))
        fine = f.texture(1, (0.0, 0.5, 0.6, 0.5))
        dx = across - 0.15
        reach = _norm(dx, y + 0.02)
        bearing = (y + 0.02) / (np.abs(dx) + np.abs(y + 0.02) + 1e-3)  # of the hilum, -1 up to 1 down
        branch = np.cos(20 * bearing + 2.4 * fine + 3 * mottle + f.branching)
        vessels = np.clip(branch - 0.35, 0, 1) * np.exp(reach * -3.2) * np.clip(reach * 12, 0, 1)
        hilum = _bump(dx - 0.04, 0.08) * _bump(y + 0.03, 0.13)
        markings = 0.75 * vessels + 0.22 * hilum * (1 + 0.6 * fine) + 0.035 * mottle + 0.02 * fine
        markings = markings * aerated * f.vessels

        opacity = lung * f.opacity() * (0.95 + 0.15 * mottle + 0.12 * fine)

        path = trunk * (2.0 + 0.22 * heart + 0.25 * abdomen + 0.05 * mottle) + 0.9 * arm - air
        path = path + 0.30 * mediastinum + 0.25 * spine + 0.15 * knob - 0.16 * trachea - 0.35 * bubble
        path = np.clip(path + 0.45 * breast * _above(y - 0.1, 0.5), 0, 9) + bone * np.clip(2 * trunk, 0, 1)
        path = path + markings + opacity
        path = path + f.heel * f.y + f.noise * np.exp(0.5 * path) * f.pixel_noise()
        yield rows, 0.50 + 0.46 * np.tanh((path - f.level) * f.slope)


def _head(scene: Scene) -> dict[str, Array]:
    """Geometry that head CT and MRI share: pose, skull, ventricles, site of the lesion."""
    body, shot, age = scene.anatomy, scene.exposure, scene.age
    size = body.uniform(0.94, 1.06) * np.where(scene.female, 0.97, 1.02)
    width, height = 0.67 * size, 0.82 * size * body.uniform(0.95, 1.04)
    turn, shift_x, shift_y = shot.uniform(-0.2, 0.2), shot.uniform(-0.06, 0.06), shot.uniform(-0.05, 0.05)
    # sites lie in the hemispheres, off the midline and within the skull
    across = np.where(body.uniform() < 0.5, -1.0, 1.0) * shot.uniform(0.28, 0.52) * width
    along = shot.uniform(-0.42, 0.45) * height
    return {
        "width": width,
        "height": height,
        "turn": turn,
        "shift_x": shift_x,
        "shift_y": shift_y,
        "egg": body.uniform(0.03, 0.10),
        "skull": body.uniform(0.085, 0.12),
        # brains shrink with age: ventricles and sulci widen
        "ventricle": np.clip(body.uniform(0.03, 0.06) + 0.0008 * (age - 45), 0.02, 0.12),
        "sulci": np.clip(body.uniform(0.35, 0.75) + 0.008 * (age - 45), 0.1, 1.3),
        "horn": body.uniform(0.55, 0.85),
        "asymmetry": body.uniform(-0.15, 0.15),
        "noise": shot.uniform(0.8, 1.3),
        "gain": shot.uniform(0.92, 1.08),
    } | scene.place_opacity(
        x=np.cos(turn) * across - np.sin(turn) * along + shift_x,
        y=np.sin(turn) * across + np.cos(turn) * along + shift_y,
        radii=(shot.uniform(0.11, 0.19) * size, shot.uniform(0.12, 0.20) * size),
        tilt=shot.uniform(-1.5, 1.5),
    )


def _tissues(f: Frame) -> dict[str, Array]:
    """Tissue maps of a head, each 0 to 1, and its own coordinates: radius, off the midline, along it."""
    c, s = np.cos(f.turn), np.sin(f.turn)
    dx, dy = f.x - f.shift_x, f.y - f.shift_y
    u, v = (c * dx + s * dy) / f.width, (c * dy - s * dx) / f.height
    u = u / (1 - f.egg + f.egg * v)
    wobble = f.texture(0, (0.8, 0.4, 0.0, 0.0))
    radius = _norm(u, v) + 0.012 * wobble
    across, along = np.abs(u + 0.01 * wobble), np.abs(v)
    inner = 1 - f.skull
    folds = np.abs(f.texture(1, (0.0, 0.2, 0.6, 0.7)))

    half = f.ventricle * (1 + f.asymmetry * np.sign(u)) * (0.4 + 0.9 * _dome(v / 0.42)) * (1 + 0.5 * along)
    horns = _above(half - np.abs(across - 0.07 - f.horn * _square(v)), 0.035) * _above(0.40 - along, 0.05)
    third = _above(0.012 + 0.2 * f.ventricle - across, 0.02) * _above(0.11 - np.abs(v - 0.1), 0.04)
    fissure = _bump(across, 0.012 + 0.012 * f.sulci) * _above(along - 0.42, 0.1)
    sylvian = _bump(_norm(across - 0.62, (v + 0.08) * 0.6) - 0.03, 0.025) * _above(across - 0.45, 0.1)
    clefts = np.clip(1 - folds / (0.14 + 0.16 * f.sulci), 0, 1) * _above(radius - 0.7 + 0.1 * f.sulci, 0.14)
    ribbon = _above(0.55 - folds, 0.3) * _above(radius - 0.60, 0.25) + _above(radius - inner + 0.1, 0.05)
    nuclei = _bump(_norm((across - 0.21 - 0.1 * v) / 0.09, (v - 0.02) / 0.2), 0.6)
    return {
        "radius": radius,
        "across": across,
        "along": along,
        "brain": _above(inner - 0.02 - radius, 0.02),
        "bone": _above(radius - inner, 0.02) * _above(1 - radius, 0.02),
        "scalp": _above(radius - 1, 0.02) * _above(1.06 - radius, 0.02),
        "fluid": np.clip(horns + third + f.sulci * (0.7 * clefts + 0.6 * sylvian + 0.8 * fissure), 0, 1),
        "grey": np.clip(ribbon + nuclei, 0, 1),
    }


def draw_head_ct(scene: Scene) -> Iterator[tuple[slice, Array]]:
    """Axial head CT, for instance with a haemorrhage: Hounsfield units, level 40, width 80.

    Parameters and yields are those of :func:`draw_chest`.
    """
    for rows, f in scene.batches(_head(scene)):
        t = _tissues(f)
        units = 27 + 9 * t["grey"] + 1.5 * f.texture(0, (0.5, 0.5, 0.0, 0.0))
        units = units + (8 - units) * t["fluid"]
        units = units + 16 * _bump(t["across"], 0.012) * _above(t["along"] - 0.4, 0.1)
        units = units + f.opacity() * (40 + 4 * f.texture(1, (0.0, 0.7, 0.7, 0.0)))
        # 0 HU and less is black in this window: air needs no deeper value
        units = t["brain"] * units + 950 * t["bone"] + 45 * t["scalp"]
        holder = np.abs(_norm(f.x - f.shift_x, f.y + 0.35) - 1.28)
        units = units + 70 * _above(0.012 - holder, 0.02) * _above(f.y - 0.35, 0.05)
        grain = f.texture(1, (0.0, 0.0, 0.0, 1.6)) + 3.2 * f.pixel_noise()
        units = units + f.noise * grain * _above(1.05 - t["radius"], 0.1)
        yield rows, units * f.gain / 80


def draw_brain_mri(scene: Scene) -> Iterator[tuple[slice, Array]]:
    """Axial T2-weighted brain MRI, for instance with a tumour.

    Parameters and yields are those of :func:`draw_chest`. The signal is shaded by the coil, and
    the noise is that of a magnitude image (Gudbjartsson and Patz, "The Rician distribution of
    noisy MRI data", Magn Reson Med 1995;34:910-914).
    """
    for rows, f in scene.batches(_head(scene)):
        t = _tissues(f)
        signal = 0.28 + 0.20 * t["grey"] + 0.012 * f.texture(0, (0.5, 0.5, 0.0, 0.0))
        signal = signal + f.opacity() * (0.55 + 0.08 * f.texture(1, (0.0, 0.7, 0.6, 0.0)))
        signal = signal + (0.92 - signal) * t["fluid"]
        signal = t["brain"] * signal + 0.75 * _bump(t["radius"] - 1 + f.skull, 0.018)
        signal = signal + 0.6 * t["scalp"] + 0.03 * t["bone"]
        signal = signal * f.gain * (1 + 0.07 * f.texture(0, (1.0, 0.0, 0.0, 0.0)) + 0.06 * f.y)
        sigma = 0.024 * f.noise
        yield rows, _norm(signal + sigma * f.pixel_noise(), sigma * f.pixel_noise())


DRAW: Final[dict[str, Callable[[Scene], Iterator[tuple[slice, Array]]]]] = {
    "xray": draw_chest,
    "ct": draw_head_ct,
    "mri": draw_brain_mri,
}
"""Drawing function of each modality."""
