select
    model, suite, mode, sample_id, trajectory_id, family, need, difficulty, flags, verdict, rule,
    answer, stop_reason, num_calls, num_failed_calls, num_tokens
from source_scored_answer
