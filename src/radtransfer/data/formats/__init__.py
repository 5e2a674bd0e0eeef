"""Dataset layouts, one module each, with the same contract."""
