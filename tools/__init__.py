"""The command line, `weightlock`."""
