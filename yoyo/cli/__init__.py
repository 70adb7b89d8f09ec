"""The command line: parse, call one op, render the result."""
