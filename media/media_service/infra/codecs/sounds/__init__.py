"""Sounds: heard in a cell, made by ffmpeg."""
