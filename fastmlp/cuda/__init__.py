"""The engine on NVIDIA GPUs: kernels of numba.cuda, written for one thread, of the same formulas as the CPU's."""
