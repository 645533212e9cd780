"""How jobs reach the core: the queue's worker, the rescue of lost jobs, the periodic sweep."""
