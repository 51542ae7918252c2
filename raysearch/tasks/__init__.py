"""Tasks: models in training, by kind, with the metrics that evaluate them.

`registry` builds the task of a config; `base` is the interface between a task and the engine.
"""
