"""Photographs as the ingest stores them: a few times fewer CPU seconds to decode, and hardly another image."""

import stored_side

from .test_steps import quick


def test_a_stored_side_saves_most_of_the_decoding(monkeypatch, capsys):
    figures = quick(stored_side, monkeypatch, capsys)
    assert next(iter(figures)) == "seconds_ratio"
    large = figures["by_size"]["1600x1200"]
    for stored in ("--side 448", "--side 224"):
        assert large[stored]["seconds_ratio"] > 2
        assert large[stored]["decibels"] > 34
        assert large[stored]["kib"] < large["as it is"]["kib"] / 3
    # Scaling by the JPEG decoder does nothing below four times the pixels of twice the side.
    assert figures["by_size"]["1024x768"]["draft"]["decibels"] is None


def test_decibels():
    signal = stored_side.decode_by_draft(stored_side.draw_photograph(300, 300, 0))
    assert signal.shape == (224, 224, 3)
    assert stored_side.decibels(signal, signal) == float("inf")
    assert abs(stored_side.decibels(signal.astype(int) + 1, signal) - 48.13) < 0.01  # 20 log10(255)
