select trajectory ->> '$.trajectory_id' as trajectory_id, 'accuracy' as component,
    reward_accuracy as value
from source_rollout
where reward_accuracy is not null
union all
select trajectory ->> '$.trajectory_id', 'format', reward_format
from source_rollout
where reward_format is not null
