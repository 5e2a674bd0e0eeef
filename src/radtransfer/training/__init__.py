"""Training runs: augmentation, stored activations, fitting, records."""
