"""The ops of the sparse core, one folder each: its autograd, its reference and its kernels."""
