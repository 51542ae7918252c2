"""Readers that several layouts share: directories, archives, lists of labels, Matlab files, published partitions.

Each module is imported by name, since every layout uses only one or two of them.
"""
