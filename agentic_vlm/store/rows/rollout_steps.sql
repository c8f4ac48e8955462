select
    trajectory ->> '$.trajectory_id' as trajectory_id,
    step, policy_version, group_id, reward, advantage,
    len(prompt_ids) as num_prompt_tokens,
    len(completion_ids) as num_completion_tokens,
    len([is_trained for is_trained in loss_mask if is_trained]) as num_trained_tokens
from source_rollout
