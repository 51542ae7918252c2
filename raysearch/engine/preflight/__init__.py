"""Checks of a cluster before it costs money: its file, node types, quotas, prices, and a study on its data.

`checks` runs them all and returns a list of results.
"""
