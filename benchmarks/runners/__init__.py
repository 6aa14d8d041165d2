"""Measured programs: each module runs one contestant once, with only its own library and the standard one."""
