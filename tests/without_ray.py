"""A command line run where Ray cannot be imported."""

CODE = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError("no " + name)
sys.meta_path.insert(0, NoRay())
from raysearch import {module}
from raysearch.core import cli
cli.run({module}.app)
"""
