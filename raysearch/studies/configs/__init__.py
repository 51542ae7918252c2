"""Typed, frozen configs of runs: one class per task, one section per idea, every field with its reason.

Profiles and presets set many fields at once; overrides set one by its dotted path.
"""
