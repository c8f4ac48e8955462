select
    trajectory_id,
    turn,
    seen.text as text,
    seen.action.type as action,
    seen.num_tokens as num_tokens,
    seen.observation.text as observation,
    seen.observation.status as observation_status,
    coalesce([image.sha256 for image in seen.observation.images], []) as image_sha256
from source_turn
