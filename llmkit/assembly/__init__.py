"""Assemblies: a transformer as a learner plans it, part by part; whether it fits, what it takes, how it is kept.

Nothing here loads torch before a machine is really built.
"""
