"""Gives CNTK the two libraries of Open MPI that it is linked to.

An Open MPI of the system is linked under the names that Open MPI 1.10 had. Where there
is none, libraries take its place whose functions end the process with a message: a CNTK
that trains in one process calls none of them.
"""

import ctypes
import glob
import os
import re
import subprocess
import sys
import tempfile

# The library of C and that of C++, as CNTK asks for them, and their later numbers.
NAMES = ("libmpi.so.12", "libmpi_cxx.so.1")
LATER = (("libmpi.so.20", "libmpi_cxx.so.20"), ("libmpi.so.40", "libmpi_cxx.so.40"))

SOURCE = """
#include <stdio.h>
#include <stdlib.h>

static void absent(const char *name)
{
    fprintf(stderr, "%s: CNTK runs in several processes only with Open MPI\\n", name);
    abort();
}
"""


def needed(libraries):
    """The names that CNTK's libraries leave to those of Open MPI."""
    found = set()
    for library in libraries:
        listed = subprocess.check_output(["nm", "-D", "-u", library])
        found |= set(re.findall(r" ((?:MPI_|ompi_|_ZN3MPI)\w+)", listed.decode()))
    return sorted(found)


def installed(symbols):
    """The paths of an Open MPI that the system's loader finds, or nothing."""
    for names in (NAMES, *LATER):
        try:
            loaded = [ctypes.CDLL(name, ctypes.RTLD_GLOBAL) for name in names]
        except OSError:
            continue
        if all(any(hasattr(one, symbol) for one in loaded) for symbol in symbols):
            with open("/proc/self/maps") as lines:
                paths = set(line.split()[-1] for line in lines)
            return [next(p for p in paths if "/" + name in p) for name in names]
    return []


def stand_in(symbols, path):
    """Compiles a library in which every symbol ends the process."""
    template = 'void {0}(void) {{ absent("{0}"); }}'
    functions = [template.format(name) for name in symbols]
    with tempfile.TemporaryDirectory() as place:
        source = os.path.join(place, "mpi.c")
        with open(source, "w") as file:
            file.write(SOURCE + "\n".join(functions) + "\n")
        command = ["gcc", "-shared", "-fPIC", "-w", source, "-o", path]
        subprocess.check_call(command)


def main(folder):
    """Puts both names beside CNTK's own libraries, which look for them there."""
    packages = os.path.join(folder, "lib", "python*", "site-packages")
    own = os.path.join(packages, "cntk", "libs", "*Cntk*.so*")
    libraries = glob.glob(own) + glob.glob(os.path.join(packages, "_cntk_py*.so"))
    symbols = needed(libraries)
    if not symbols:
        sys.exit("CNTK asks for nothing of Open MPI: looked for " + own)
    place = os.path.dirname(glob.glob(own)[0])
    found = installed(symbols)
    for i, name in enumerate(NAMES):
        path = os.path.join(place, name)
        if found:
            os.symlink(found[i], path)
        else:
            stand_in(symbols, path)
    print("Open MPI: " + (found[0] if found else "none, CNTK runs in one process"))


main(sys.argv[1])
