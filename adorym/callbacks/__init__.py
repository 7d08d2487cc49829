"""Those who watch a run: progress on the screen, log file, snapshots."""
