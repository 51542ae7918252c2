"""Cells while Ray Tune runs them: the queue, trial actors that are reused, and warm groups of Ray Train workers.

`tuner` runs a queue to its end; `train_loop` is what a worker does.
"""
