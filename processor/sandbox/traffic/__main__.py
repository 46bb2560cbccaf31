"""python -m processor.sandbox.traffic"""

import sys

from processor.sandbox.traffic.producer import main

sys.exit(main())
