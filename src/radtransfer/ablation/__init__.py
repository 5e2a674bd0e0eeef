"""Ablation: what of transfer learning does the work, one factor changed at a time."""
