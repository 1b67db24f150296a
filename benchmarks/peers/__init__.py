"""The tools that people use today beside ours: same model, same calibration tokens, same evaluation, one run.

No paper: measurement. A file here that has a tool's name runs inside that tool's own environment, as a module of its
own process (`frame`), and imports nothing of Laconic; the other files run in ours.
"""
