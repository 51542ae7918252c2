"""Studies as data: the configs of runs, the design of ablations and searches, and the analysis of results.

Nothing here imports torch or ray.
"""
