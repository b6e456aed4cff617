"""How many rows ONNX Runtime computes in this process: `python inference_rate.py model.onnx THREADS`.

Each line of its input says how many rows at once and for how many seconds; the rows in a second, and in a second of a
core's time, are printed. It is run by the Python
of Triton's backend, so that both compute with the same ONNX Runtime.
"""

import sys
import time

import numpy as np
import onnxruntime


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[2])
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    for line in sys.stdin:
        rows, seconds = int(line.split()[0]), float(line.split()[1])
        feed = {given.name: np.random.default_rng(0).standard_normal((rows, *given.shape[1:])).astype(np.float32)}
        session.run(None, feed)
        begun, used, runs = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < seconds:
            session.run(None, feed)
            runs += 1
        lasted, used = time.perf_counter() - begun, time.process_time() - used
        print(rows * runs / lasted, rows * runs / used, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
