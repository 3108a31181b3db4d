"""What GPU kernels share: acceptance, launching, the sharing out of rows, tiles, and their measured choice.

Only the ``gpu.py`` of an op imports it, so that nothing loads Triton before a tensor on a GPU asks for it.
"""
