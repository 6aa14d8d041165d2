"""Runners: each module runs one contestant once, and imports only its library and the standard library."""
