# SPDX-License-Identifier: MIT
"""`python -m pagsrv` is the pagsrv command."""

import sys

from pagsrv.cli.main import main

sys.exit(main())
