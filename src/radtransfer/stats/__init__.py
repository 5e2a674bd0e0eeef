"""Statistics of diagnostic accuracy; uses numpy, scipy, statsmodels and krippendorff only.

A library on its own: nothing here knows of the study, of images or of Keras. Import from the modules
(``from radtransfer.stats.auc import compare_auc``); each loads only what it needs. Options are keyword-only,
results are an :class:`~radtransfer.stats.result.Estimate` or print and serialise like one, and what is
undefined is a :class:`ValueError` or None with the reason, never NaN.

Accuracy and its comparison
    ``auc``
        AUC with DeLong, Obuchowski and weighted variances; paired and unpaired comparison.
    ``bootstrap``
        Resampling of whole patients, vectorised: percentile and BCa intervals of anything.
    ``proportions``
        Sensitivity, specificity, predictive values, F1; Wilson, Clopper-Pearson, clustered.
    ``paired``
        McNemar (clustered too), Tango's interval, t (corrected for resampling), Wilcoxon.
    ``repeats``
        Trainings from several seeds: their spread beside that of sampling.
    ``permutation``
        Permutation tests of AUC differences and of gaps between groups.
    ``disparity``
        Rates by group and the gaps between groups.
    ``noninferiority``
        Not worse by more than a margin: AUC, paired proportions.
    ``multiplicity``
        Holm, Benjamini-Hochberg, Bonferroni.

Readers and calibration
    ``agreement``
        Kappas, Gwet's AC1, Krippendorff's alpha.
    ``mrmc``
        Multi-reader multi-case studies.
    ``calibration``, ``net_benefit``
        Probabilities against outcomes, and what decisions on them are worth.
    ``discrepancy``
        What explains where two readers differ.
"""
