"""Tools of the tests: servers, faults between them and a driver, factories, and looks into a store."""
