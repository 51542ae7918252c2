"""Few-shot recognition: episodes as training steps, the network of a config, and accuracy over fixed test episodes.

Every method sees the same episodes, since they follow from seed and index alone.
"""
