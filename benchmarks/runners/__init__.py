"""What is measured: each module runs one contestant once, with nothing but its own library and the standard one."""
