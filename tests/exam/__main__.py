"""``make exam``: planted mistakes must be found and named, correct pairs must not."""

import sys

from exam.sitting import main

if __name__ == "__main__":
    sys.exit(main())
