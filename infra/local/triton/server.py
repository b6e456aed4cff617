# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["nvidia-pytriton==0.7.0", "onnxruntime>=1.23,<2", "numpy<2"]
# ///
import sys
print(sys.executable)
