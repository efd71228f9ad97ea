"""What the signatures of a .tflite file are called.

Apart from what reads and writes them, for a runtime needs the names alone.
"""

INIT_STATE = "init_state"
STREAM = "stream"
FLUSH = "flush"
STATE = "state"
