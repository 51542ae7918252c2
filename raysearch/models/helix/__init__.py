"""The parts of HelixFormer."""
