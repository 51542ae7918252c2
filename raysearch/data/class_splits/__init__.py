"""Which classes train, validate and test where splits share no class: shipped lists, rules, and a user's CSV file.

`partition` applies a split to a data set and checks it for leaks.
"""
