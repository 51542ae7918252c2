"""Other items under known names, for one test."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from raysearch.models.backbones import BACKBONES, Backbone

Build = Callable[[str, str | None], Backbone]  # name, weights -> backbone


def backbone_builder(name: str) -> Build:
    """Return what builds a backbone at the moment."""
    spec = BACKBONES[name]
    return lambda _, weights: spec.build(weights)


def replace_backbone(monkeypatch: pytest.MonkeyPatch, name: str, build: Build) -> None:
    """Build something else under the name of a known backbone until the test ends."""
    spec = replace(BACKBONES[name], builder=lambda spec, weights: build(spec.name, weights))
    monkeypatch.setitem(BACKBONES._items, name, spec)
