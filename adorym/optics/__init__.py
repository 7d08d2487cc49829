"""X-ray optics: geometry, free-space propagation, windows on the object, and first guesses of the probe."""
