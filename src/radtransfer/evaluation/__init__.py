"""Diagnostic performance from prediction tables."""
