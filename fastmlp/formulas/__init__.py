"""Scalar mathematics, each formula written once: elementary functions, activations, losses, updates."""
