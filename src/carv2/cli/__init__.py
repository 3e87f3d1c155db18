"""The command line: parse, one library call, print. The only code that prints, exits or reads the environment."""
