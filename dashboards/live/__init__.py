"""The live page of a run: a small server on this machine that follows the run directory.

`follower` reads the directory, `status` and `results` make the page's state from it, and `server` serves it.
"""
