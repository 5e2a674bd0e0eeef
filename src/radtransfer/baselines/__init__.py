"""Traditional image processing with classical learners, and the shortcut baselines beside them."""

from radtransfer.baselines.learners import BASELINES, Baseline, fit_baselines

__all__ = ["BASELINES", "Baseline", "fit_baselines"]
