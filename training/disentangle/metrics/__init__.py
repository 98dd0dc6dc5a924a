"""Image, overlap and disentanglement metrics."""
