"""Stand-ins for what needs a GPU, so that the code around it can be tested without one.

Nothing here is, or imitates the speed or the numbers of, what it stands in for: a test that passes with a stand-in says
that our side keeps to the interface, and nothing about the real library. tests/gpu tries the real ones.
"""
