"""Pure tensor functions: no models, no files, no randomness that is not passed in.

No paper: each file names its own.
"""
