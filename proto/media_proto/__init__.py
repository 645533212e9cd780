"""The contract of the media service and the code generated from it."""
