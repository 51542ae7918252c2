"""What a search learns, before its first trial, from cells that other runs finished.

`memory` serves a search: `other_runs` reads the cells, `known_configs` makes configs of them, `learned_trials` trials.
"""
