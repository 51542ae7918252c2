"""What a study file holds, and the plan that is made of it: variants, seeds and the cells' names.

`ablation` and `search` are the two kinds of study.
"""
