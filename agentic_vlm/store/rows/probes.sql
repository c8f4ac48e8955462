select sample_id, mode, attempt, is_needed, verdict, answer, stop_reason, num_calls
from source_probe
