"""Gives the OpenBLAS inside SciPy's wheel the name that compilers look for.

``<folder>/lib/libopenblas.so`` then serves ``-L<folder>/lib -lopenblas``; the name that
the library has of itself stands beside it, where compiled code finds it when it runs.
"""

import glob
import os
import sys


def link(folder):
    """Makes the two links; an environment without the library is not one."""
    pattern = os.path.join(
        folder, "lib", "python*", "site-packages", "scipy.libs", "libopenblas*"
    )
    found = glob.glob(pattern)
    if len(found) != 1:
        sys.exit("no OpenBLAS in SciPy's wheel: looked for " + pattern)
    for name in ("libopenblas.so", os.path.basename(found[0])):
        os.symlink(found[0], os.path.join(folder, "lib", name))


link(sys.argv[1])
