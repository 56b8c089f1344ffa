"""NVIDIA's Triton Inference Server: a box as a model repository, the real server on it, the container elsewhere.

Nothing here may be called like the package of Triton kernels: on the path it would shadow it.
"""
