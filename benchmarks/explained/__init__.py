"""Simulated searches with a known truth, and their paths from reference to best config.

`paths` draws them and writes raysearch's choice of the order again, and `races` judges them at looks.
"""
