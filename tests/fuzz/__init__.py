"""Fuzzing: every parser, given inputs that nobody wrote. CONTRIBUTING.md, section "Fuzzing", says how to run it."""
