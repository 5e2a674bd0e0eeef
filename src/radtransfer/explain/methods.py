"""Attribution methods behind one interface: network, images and class in, one signed map an image out.

Grad-CAM and integrated gradients look into the network; occlusion and LIME only ask it for scores. Where a
method takes something away from an image, :func:`reference` says what is left: the image out of focus.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic
from sklearn.linear_model import Ridge

from radtransfer.errors import unknown_name
from radtransfer.explain.networks import ExplainedNetwork
from radtransfer.explain.records import Settings

Maps = NDArray[np.float32]
Images = NDArray[np.uint8]
Method = Callable[[ExplainedNetwork, Images, int, Settings], Maps]


def attribute(
    method: str, network: ExplainedNetwork, images: Images, output: int, settings: Settings
) -> Maps:
    """Attribution maps of images.

    Parameters
    ----------
    method : str
        Key of :data:`METHODS`.
    network : ExplainedNetwork
    images : array of uint8, shape (n, side, side)
        At the network's input size.
    output : int
        Number of the class whose log-odds are explained.
    settings : Settings

    Returns
    -------
    array of float32, shape (n, side, side)
        Positive where the image speaks for the class. Grad-CAM tells nothing of what speaks against it.

    Raises
    ------
    InputError
        If there is no such method; names the nearest.
    """
    if method not in METHODS:
        raise unknown_name("attribution method", method, METHODS)
    return METHODS[method](network, images, output, settings)


def reference(images: Images, settings: Settings) -> Images:
    """Images without their detail: what stands where something was taken away.

    A grey or black patch would bring in edges and densities that no patient has; a blurred one keeps the
    exposure (Fong and Vedaldi, ICCV 2017).

    Parameters
    ----------
    images : array of uint8, shape (n, side, side)
    settings : Settings
        ``blur`` is the standard deviation as a share of the side.
    """
    deviation = settings.blur * images.shape[-1]
    return np.stack(
        [cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT) for image in images]
    )


def grad_cam(network: ExplainedNetwork, images: Images, output: int, settings: Settings) -> Maps:
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2) at :attr:`ExplainedNetwork.cam_layer`."""
    side = images.shape[-1]
    activations = np.asarray(network.halves[0](network.backbone.preprocess(images), training=False))
    weights = network.cam_gradient(activations, output).mean(axis=(1, 2), keepdims=True)
    cams = np.maximum((weights * activations).sum(axis=-1), 0)
    return np.stack([cv2.resize(cam, (side, side), interpolation=cv2.INTER_LINEAR) for cam in cams])


def integrated_gradients(network: ExplainedNetwork, images: Images, output: int, settings: Settings) -> Maps:
    """Integrated gradients from the reference (Sundararajan et al., ICML 2017, eq. 1), midpoint rule.

    The three equal channels of a grey image are added up: the scaling of the input is affine, so that the sum
    is the attribution of the grey pixel.
    """
    preprocess = network.backbone.preprocess
    start = preprocess(reference(images, settings))
    way = preprocess(images) - start
    mean = np.zeros_like(way)
    for step in range(settings.steps):
        mean += network.gradient(start + way * np.float32((step + 0.5) / settings.steps), output)
    maps: Maps = (way * mean).sum(axis=-1) / np.float32(settings.steps)
    return maps


def occlusion(network: ExplainedNetwork, images: Images, output: int, settings: Settings) -> Maps:
    """Fall of the log-odds where a window is blurred (Zeiler and Fergus, ECCV 2014, section 4.2).

    A pixel's value is the mean over the windows that cover it.
    """
    side = images.shape[-1]
    window = max(1, round(settings.window * side))
    starts = np.unique(np.linspace(0, side - window, settings.positions).round().astype(int))
    places = [(slice(y, y + window), slice(x, x + window)) for y in starts for x in starts]
    covered = np.zeros((side, side), dtype=np.float32)
    for place in places:
        covered[place] += 1
    maps = np.zeros(images.shape, dtype=np.float32)
    for image, blurred, fall in zip(images, reference(images, settings), maps, strict=True):
        changed = np.repeat(image[np.newaxis], len(places) + 1, axis=0)
        for altered, place in zip(changed, places, strict=False):
            altered[place] = blurred[place]
        *scores, whole = network.log_odds(changed, output)
        for place, score in zip(places, scores, strict=True):
            fall[place] += whole - score
    maps /= np.maximum(covered, 1)
    return maps


def lime(network: ExplainedNetwork, images: Images, output: int, settings: Settings) -> Maps:
    """LIME (Ribeiro et al., KDD 2016, algorithm 1): a linear model of superpixels that are there or blurred.

    Superpixels are SLIC's. Masks are drawn by fair coins, weighted by the exponential kernel of their cosine
    distance from the whole image, and the log-odds fitted by ridge regression.
    """
    maps = np.empty(images.shape, dtype=np.float32)
    for number, (image, blurred) in enumerate(zip(images, reference(images, settings), strict=True)):
        segments = superpixels(image, settings)
        n_segments = int(segments.max()) + 1
        rng = np.random.default_rng([settings.seed, number])
        masks = rng.random((settings.samples, n_segments)) < 0.5
        masks[0] = True
        shown = masks[:, segments]
        scores = network.log_odds(np.where(shown, image, blurred), output)
        # of a 0/1 mask and the mask of ones, the cosine is the root of the share of ones
        distance = 1 - np.sqrt(masks.mean(axis=1))
        weights = np.exp(-((distance / settings.kernel_width) ** 2))
        fitted = Ridge(alpha=settings.ridge).fit(masks, scores, sample_weight=weights)
        maps[number] = fitted.coef_[segments]
    return maps


def superpixels(image: NDArray[np.uint8], settings: Settings) -> NDArray[np.intp]:
    """Number of the superpixel that each pixel belongs to, from 0 without gaps."""
    segments = slic(
        image.astype(np.float64) / 255,
        n_segments=settings.segments,
        # where an image is noisier than that, SLIC splinters and then merges all splinters into one
        compactness=0.5,
        sigma=1,
        channel_axis=None,
        start_label=0,
    )
    numbered: NDArray[np.intp] = np.unique(segments, return_inverse=True)[1].reshape(image.shape)
    return numbered


METHODS: dict[str, Method] = {
    "grad_cam": grad_cam,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "lime": lime,
}
"""Attribution methods by name."""
