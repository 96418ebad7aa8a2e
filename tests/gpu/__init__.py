"""Tests on a real GPU: `make test-gpu`. Nothing here is a stand-in, and nothing is fetched from anywhere.

Without a GPU all of them are skipped; so is each one whose framework is not there, or was built without CUDA.
"""
