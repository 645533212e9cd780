"""HTTP: the bytes of media, and what operators ask of the service."""
