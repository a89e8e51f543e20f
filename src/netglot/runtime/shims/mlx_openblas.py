"""Gives MLX the OpenBLAS inside SciPy's wheel instead of the BLAS inside its own.

That one is the reference implementation, which is thirty times slower. MLX finds its
libraries in a folder of its own: there OpenBLAS takes the name of the other.
"""

import glob
import os
import sys


def link(folder):
    """Makes the links; an environment without the libraries is not one."""
    packages = os.path.join(folder, "lib", "python*", "site-packages")
    slow = glob.glob(os.path.join(packages, "mlx_cpu.libs", "libblas*"))
    fast = glob.glob(os.path.join(packages, "scipy.libs", "libopenblas*"))
    if len(slow) != 1 or len(fast) != 1:
        sys.exit("no BLAS of MLX, or no OpenBLAS of SciPy: looked in " + packages)
    os.remove(slow[0])
    os.symlink(fast[0], slow[0])
    # What OpenBLAS itself needs is beside it.
    for path in glob.glob(os.path.join(os.path.dirname(fast[0]), "lib*")):
        name = os.path.join(os.path.dirname(slow[0]), os.path.basename(path))
        if path != fast[0] and not os.path.exists(name):
            os.symlink(path, name)


link(sys.argv[1])
