"""X-ray optics: geometry, free-space propagation, refraction, windows on the object, and first guesses of the probe."""
