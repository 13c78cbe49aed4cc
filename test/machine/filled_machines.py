"""The files of machines/ as machines have them, for the tests in this folder: MACHINES is their folder.

In a Debian root they lie filled beside the tests. In the repository, where a test is run by hand, they are filled into a
temporary folder first.
"""

import atexit
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
MACHINES = PROJECT / "machines"

if not (MACHINES / "balancer/wcs_balancer/contract.json").exists():
    MACHINES = Path(tempfile.mkdtemp(prefix="wcs-machines-"))
    atexit.register(shutil.rmtree, MACHINES)
    # Tests run scripts as other users, too.
    MACHINES.chmod(0o755)
    script = ["node", "--import", "tsx", "test/machine/filled-machines.ts", str(MACHINES)]
    subprocess.run(script, cwd=PROJECT, check=True)

sys.path[:0] = [str(MACHINES / folder) for folder in ("setup", "balancer", "node")]
