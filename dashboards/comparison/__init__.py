"""Several runs side by side: how their configs differ, and the differences between variants that they share.

`compatibility` refuses runs with different metrics, data or evaluation protocols.
"""
