"""The process that drives a study: ablations, searches, dry runs, and the session that both kinds share.

`session` connects, places images and stores every cell that ends.
"""
