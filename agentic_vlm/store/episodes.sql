-- Relations that several tables are made from: each episode once, and its turns.

-- A rollout holds its trajectory as JSON; both become the same columns.
create temp view source_found as
select
    trajectory_id, sample_id, stage, policy, mode, protocol, attempt, seed, stop_reason, failure,
    answer, verdict, turns, folder, rank
from source_trajectory
union all by name
select unnest(from_json(trajectory, '{
    "trajectory_id": "VARCHAR", "sample_id": "VARCHAR", "stage": "VARCHAR", "policy": "VARCHAR",
    "mode": "VARCHAR", "protocol": "VARCHAR", "attempt": "BIGINT", "seed": "BIGINT",
    "stop_reason": "VARCHAR", "failure": "VARCHAR", "answer": "VARCHAR", "verdict": "VARCHAR",
    "turns": "JSON"
}')), folder, rank
from source_rollout;

-- The cold start holds copies of teacher trajectories: the last place wins.
create temp view source_place as
select trajectory_id, max(rank) as rank, bool_or(starts_with(folder, 'data/sft/')) as is_selected
from (
    select trajectory_id, folder, rank from source_trajectory
    union all
    select trajectory ->> '$.trajectory_id', folder, rank from source_rollout
)
group by trajectory_id;

create temp view source_episode as
select source_found.* exclude (rank, turns), source_place.is_selected, from_json(turns, '[{
    "text": "VARCHAR",
    "num_tokens": "BIGINT",
    "action": {
        "type": "VARCHAR", "tool": "VARCHAR", "code": "VARCHAR", "arguments_json": "VARCHAR"
    },
    "observation": {
        "text": "VARCHAR", "status": "VARCHAR", "error_class": "VARCHAR",
        "images": [{"sha256": "VARCHAR"}], "num_dropped_chars": "BIGINT"
    }
}]') as turns
from source_found
join source_place using (trajectory_id, rank);

create temp view source_turn as
select
    trajectory_id,
    generate_subscripts(turns, 1) - 1 as turn,
    unnest(turns) as seen
from source_episode;
