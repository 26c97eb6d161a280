# SPDX-License-Identifier: MIT
"""`python -m pagsrv.daemon` is `pagsrv broker`."""

import sys

from pagsrv.daemon.main import main

sys.exit(main(sys.argv[1:]))
