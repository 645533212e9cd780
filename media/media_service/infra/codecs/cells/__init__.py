"""Processes in which strangers' bytes meet a decoder: kept warm, confined, replaced."""
