"""Trained networks of a finished run, rebuilt from checkpoints: erasure masks, attention, neighbors, episodes.

Each task has an `inspect_cells(run, cells, images)` that returns numpy arrays to draw. Imports torch, never ray.
"""
