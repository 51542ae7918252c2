"""One run on disk: its location, the record of its study, its ended cells, checkpoints, results and heartbeats.

Only `checkpoints` imports torch, and nothing imports Ray, so a report can be drawn anywhere.
"""
