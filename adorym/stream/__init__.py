"""Frames that come while they are measured: sources, the recording, the join with positions, the picture that grows."""
