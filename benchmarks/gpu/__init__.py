"""What of the engine for NVIDIA GPUs needs a GPU: checked first, then measured."""
