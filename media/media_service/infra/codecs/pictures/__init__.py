"""Pictures: opened, inspected, developed."""
