"""Where bytes wait and where they lie for good."""
