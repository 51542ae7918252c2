"""Cells while Ray Tune runs them: the queue, trial actors that are reused, and warm groups of Ray Train workers.

`tuner.run_trials` runs jobs to their end; `train_loop` is the loop of a worker.
"""
