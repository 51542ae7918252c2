"""Several runs side by side: what differs between their configs, and the paired difference of common variants.

Runs whose metric, data or protocol differ are refused by `compatibility`.
"""
