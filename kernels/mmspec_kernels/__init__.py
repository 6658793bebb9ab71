"""Tree kernels: one signature, a compiled CPU form, and a torch reference everywhere."""
