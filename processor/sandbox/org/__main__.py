"""python -m processor.sandbox.org"""

import sys

from processor.sandbox.org.server import main

sys.exit(main())
