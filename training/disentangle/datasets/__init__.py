"""Subjects for training: real studies and phantoms, prepared, cached, and sampled slice by slice."""
