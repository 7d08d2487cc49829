"""The loop over epochs and batches, and all that only it knows."""
