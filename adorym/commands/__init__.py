"""What the command line does, as functions that Python can call: one module a command."""
