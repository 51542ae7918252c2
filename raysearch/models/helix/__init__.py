"""The parts of HelixFormer, which `raysearch.models.helixformer` puts together.

Layers, relation mining, one direction of attention, the five designs, and scores and attention maps of pairs.
"""
