"""Tree kernels: one signature, a compiled CPU form, and a torch reference everywhere."""

from pathlib import Path

from mmspec_kernels.cache_home import set_cache_home

_HERE = Path(__file__).parent
_BESIDE = (_HERE.parent / "mmspec", _HERE.parents[1] / "mmspec")  # installed, or a source tree
set_cache_home(_HERE, *(package for package in _BESIDE if package.is_dir()))
