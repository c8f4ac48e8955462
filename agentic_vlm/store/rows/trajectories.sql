-- Sorted, so that a look for one sample skips the rest.
select
    trajectory_id, sample_id, stage, policy, mode, protocol, attempt, seed, stop_reason, failure,
    answer, verdict,
    len(turns) as num_turns,
    len([t for t in turns if t.action.type = 'tool_call']) as num_calls,
    len([
        t for t in turns
        if t.action.type = 'tool_call' and coalesce(t.observation.status, 'ok') <> 'ok'
    ]) as num_failed_calls,
    cast(coalesce(list_sum([t.num_tokens for t in turns]), 0) as bigint) as num_tokens,
    is_selected
from source_episode
order by sample_id, trajectory_id
