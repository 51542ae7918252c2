"""Figures of a report as files for papers: at the width of a column, in a paper's font and in colors that print.

`layout` turns a figure of the page into that of a paper, `rendering` draws it in a browser, and `files` writes it.
"""
