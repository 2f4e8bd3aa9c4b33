"""The work of each step, in its own process: `python -m edgeseq.suite.jobs`.

A job is a module with `run(arguments, progress)`, which returns a plain dictionary; its key `note`,
if present, is printed beside the finished step.
"""
