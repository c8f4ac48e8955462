select
    run_id,
    run,
    cast(cast(started_at as timestamptz) at time zone 'UTC' as timestamp) as started_at,
    wall_s, cpu_s, gpu_s, peak_memory_mb, num_in, num_out, seed, params_digest, git_revision, host
from source_run
