"""Statistics of diagnostic accuracy; uses numpy, scipy and statsmodels only."""
