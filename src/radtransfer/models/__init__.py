"""Backbones, their pretrained weights and the heads put on them."""
