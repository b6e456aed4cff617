"""`python -m tasks STEP`, which scripts of earlier releases call: `slipway step STEP`, or `slipway script STEP`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["step"]
    runpy.run_module("infra", run_name="__main__", alter_sys=True)
