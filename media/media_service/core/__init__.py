"""What the service is: things (values and rules), ports (what it needs), doings (use cases)."""
