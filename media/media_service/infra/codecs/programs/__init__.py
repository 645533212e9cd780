"""Programs of others, each run alone in a confinement: ffmpeg."""
