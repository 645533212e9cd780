"""Traces, by OpenTelemetry. Imported only where an operator asks for them."""
