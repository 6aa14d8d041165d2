"""Tools of the tests: servers, faults between servers and drivers, factories, and inspection of stores."""
