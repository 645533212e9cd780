"""Films: looked at in a cell, made by ffmpeg."""
