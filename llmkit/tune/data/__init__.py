"""A learner's data: read, checked, mended, split and kept."""
