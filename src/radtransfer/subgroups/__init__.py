"""Performance by patient group: gaps, what the data could have shown, and what explains them."""
