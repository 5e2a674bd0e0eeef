"""Multi-reader multi-case (MRMC) studies: analysis, stand-alone AI against readers, and planning.

Start from :meth:`ReaderStudy.from_long`, which checks the readings once, and hand the study to

- :func:`obuchowski_rockette`, the default: any metric, four covariance estimators, random or fixed readers
  and cases;
- :func:`dorfman_berbaum_metz`, the same test by analysis of variance of jackknife pseudovalues (balanced
  data);
- :func:`u_statistics`, for readings in any pattern, AUC only;
- :func:`modality_means`, performance of each modality without a comparison;
- :func:`standalone_vs_readers`, one algorithm against a panel of readers;
- :func:`power` and :func:`sample_size`, for the next study from this one's components.
"""

from radtransfer.stats.mrmc.covariance import error_covariance
from radtransfer.stats.mrmc.dbm import dorfman_berbaum_metz
from radtransfer.stats.mrmc.obuchowski_rockette import modality_means, obuchowski_rockette
from radtransfer.stats.mrmc.power import ORComponents, power, sample_size
from radtransfer.stats.mrmc.result import MRMCResult
from radtransfer.stats.mrmc.standalone import standalone_vs_readers
from radtransfer.stats.mrmc.study import ReaderStudy
from radtransfer.stats.mrmc.ustat import u_statistics

__all__ = [
    "MRMCResult",
    "ORComponents",
    "ReaderStudy",
    "dorfman_berbaum_metz",
    "error_covariance",
    "modality_means",
    "obuchowski_rockette",
    "power",
    "sample_size",
    "standalone_vs_readers",
    "u_statistics",
]
