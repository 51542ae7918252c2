"""Training a backbone to classify base classes, before episodes.

`make_weights` is the program that made the published weights of the small backbone.
"""
