"""Few-shot recognition: episodes as training steps, the network of a config, and accuracy over fixed test episodes.

All methods see the same episodes, since seed and index determine them.
"""
