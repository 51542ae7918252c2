"""Trained models at work: hash images and search an index, name images by examples, and the file that holds a model.

Nothing here trains, and a model file is read without unpickling code.
"""
