"""The report of a search: answer, history, parallel coordinates, importances, contours, Pareto front, final evaluation.

`page` puts the sections in order.
"""
