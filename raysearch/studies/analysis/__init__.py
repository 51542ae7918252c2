"""Paired differences with intervals, corrected p-values, marginal effects, and differences between runs."""
