"""Traditional image processing with classical learners, and the shortcut baselines beside them."""
