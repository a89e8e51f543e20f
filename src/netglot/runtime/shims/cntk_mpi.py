"""Gives CNTK the two libraries of Open MPI that it is linked to, under their old names.

Where Open MPI is among the packages of the environment, it does the work. What it does
not have any more, the interface in C++, and without it everything, are functions that
end the process with a message: CNTK calls none of the former, and none of the latter
while it trains in one process.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

# The library of C and that of C++, of Open MPI 1.10.
NAMES = ("libmpi.so.12", "libmpi_cxx.so.1")
# The name of the former today.
TODAY = "libmpi.so.40"

SOURCE = """
#include <stdio.h>
#include <stdlib.h>

static void absent(const char *name)
{
    fprintf(stderr, "%s: CNTK runs in several processes only with Open MPI\\n", name);
    abort();
}
"""


def listed(option, library):
    """What ``nm`` tells of a library's symbols."""
    return subprocess.check_output(["nm", "-D", option, library]).decode()


def needed(libraries):
    """The names that CNTK's libraries leave to those of Open MPI."""
    found = set()
    for library in libraries:
        told = listed("--undefined-only", library)
        found |= set(re.findall(r" ((?:MPI_|ompi_|_ZN3MPI)\w+)", told))
    return found


def stand_in(symbols, links, path):
    """Compiles a library in which the symbols end the process; it has what it links."""
    template = 'void {0}(void) {{ absent("{0}"); }}'
    functions = [template.format(name) for name in sorted(symbols)]
    with tempfile.TemporaryDirectory() as place:
        source = os.path.join(place, "mpi.c")
        with open(source, "w") as file:
            file.write(SOURCE + "\n".join(functions) + "\n")
        command = ["gcc", "-shared", "-fPIC", "-w", source, "-o", path]
        subprocess.check_call(command + links)


def main(folder):
    """Puts both names beside CNTK's own libraries, which look for them there."""
    packages = os.path.join(folder, "lib", "python*", "site-packages")
    own = os.path.join(packages, "cntk", "libs", "*Cntk*.so*")
    libraries = glob.glob(own) + glob.glob(os.path.join(packages, "_cntk_py*.so"))
    symbols = needed(libraries)
    if not symbols:
        sys.exit("CNTK asks for nothing of Open MPI: looked for " + own)
    place = os.path.dirname(glob.glob(own)[0])
    links = []
    library = os.path.join(folder, "lib", TODAY)
    if os.path.exists(library):
        symbols -= set(re.findall(r" (\w+)$", listed("--defined-only", library), re.M))
        path = os.path.dirname(library)
        links = ["-Wl,--no-as-needed", library, "-Wl,-rpath," + path]
    for name in NAMES:
        stand_in(symbols, links, os.path.join(place, name))
    print("Open MPI: " + (library if links else "none, CNTK runs in one process"))


main(sys.argv[1])
