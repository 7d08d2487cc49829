"""Callbacks during a run: progress on the screen, log file, snapshots."""
