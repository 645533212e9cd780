"""Documents: looked at in a cell, delivered as they came."""
