select
    trajectory_id,
    turn,
    seen.action.tool as tool,
    seen.action.code as code,
    seen.action.arguments_json as arguments_json,
    seen.observation.status as status,
    seen.observation.error_class as error_class,
    len(seen.observation.images) as num_images,
    length(seen.observation.text) as num_chars,
    seen.observation.num_dropped_chars as num_dropped_chars
from source_turn
where seen.action.type = 'tool_call'
