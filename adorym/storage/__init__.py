"""Where the object lives."""
