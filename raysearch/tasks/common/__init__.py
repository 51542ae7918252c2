"""What all tasks share: batches on the training device, prefetching, and the weights that a backbone starts from.

`state` copies tensors and optimizers to plain values that a checkpoint may hold.
"""
