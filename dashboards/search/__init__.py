"""The report of a search: answer, final evaluation, best configs, history, Pareto fronts, space, curves and cost.

`page` puts the sections in order; `view` is what all of them read.
"""
